"""The features artifact: what is written is read back, by block, by feature, and by plain pyarrow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sae.features.logit_lens import Ranked
from sae.features.sampling import Quota
from sae.features.sketch import Space, sketch
from sae.features.sketch_file import SketchFile, save_sketch
from sae.features.tables import PROBABILITIES, Directions, write_tables
from sae.features.write_features import merged_blocks
from sae.formats import features as formats
from sae.formats.artifact_files import LocalFiles
from sae.formats.features import EXAMPLES, FEATURES, INFO, FeaturesError, FeaturesInfo, FeaturesReader, write_info

SPACE = Space(features=10, rows=6, context_length=50)
QUOTA = Quota(top=2, quantile=2, uniform=3, seed=0)
PARTS = 4


def write(folder: Path, lens: bool = True) -> tuple[np.ndarray, ...]:
    """Writes an artifact of random codes; feature 4 is silent, feature 5 always has the value 2."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    active = rng.random((SPACE.rows, SPACE.context_length, SPACE.features)) < 0.4
    active[:, :, 4] = False
    row, position, feature = np.nonzero(active)
    value = np.where(feature == 5, 2, rng.lognormal(0, 1, len(row))).astype(np.float32)
    n = SPACE.rows * SPACE.context_length
    save_sketch(sketch(feature, row, position, value, n - 6, {"bos": 6}, SPACE), SPACE, folder / "sketch")
    file = SketchFile(folder / "sketch")
    ids = torch.arange(SPACE.features)[:, None] + torch.arange(3)
    ranked = Ranked(ids, -ids.float())
    directions = Directions(ranked, *(ranked, ranked) if lens else (None, None), lambda t: f"<{t}>")
    blocks = merged_blocks([file], SPACE, QUOTA)
    write_tables(folder, file.totals, blocks, directions, SPACE, QUOTA, PARTS)
    info = FeaturesInfo(
        hook="blocks.0.hook_resid_post", split="train", rows=6, context_length=50, tokens=n, data_positions=n - 6,
        excluded={"bos": 6}, n_features=10, alive=9, l0=3.6, quantile_probabilities=PROBABILITIES, histogram={}, window={},
        no_logit_lens=None if lens else "no lens", settings={"seed": 0}, inputs={},
    )  # fmt: skip
    write_info(folder / INFO, info)
    return row, position, feature, value


def test_statistics_are_those_of_the_codes(tmp_path: Path) -> None:
    _, _, feature, value = write(tmp_path)
    table = FeaturesReader(LocalFiles(tmp_path)).features().to_pylist()
    assert [t["feature"] for t in table] == list(range(10))
    for t in table:
        own = value[feature == t["feature"]].astype(np.float64)
        assert t["count"] == len(own) == sum(t["histogram_counts"])
        assert t["density"] == len(own) / (300 - 6)
        powers = [t["sum"], t["sum_squares"], t["sum_cubes"], t["sum_fourths"]]
        np.testing.assert_allclose(powers, [(own**p).sum() for p in (1, 2, 3, 4)])
        if t["feature"] == 4:
            assert t["max"] == 0
            assert t["quantiles"] == t["part_edges"] == t["histogram_bins"] == []
            continue
        assert t["max"] == own.max()
        wanted = np.quantile(own, PROBABILITIES, method="lower")
        assert np.abs(np.array(t["quantiles"]) / wanted - 1).max() < 0.02
        assert t["part_edges"] == sorted(t["part_edges"])
        assert len(t["part_edges"]) == PARTS + 1
        assert t["part_edges"][0] <= own.min()
        assert own.max() < t["part_edges"][-1]
        lower = 2.0 ** (np.array(t["histogram_bins"]) / 18)
        counts = [((own >= a * (1 - 1e-6)) & (own < a * 2 ** (1 / 18) * (1 - 1e-6))).sum() for a in lower]
        assert counts == t["histogram_counts"]
        assert t["promoted_tokens"] == [f"<{i}>" for i in t["promoted"]]
        assert t["neighbour_cosines"] == [-float(i) for i in t["neighbours"]]


def test_without_a_lens_its_columns_are_null(tmp_path: Path) -> None:
    write(tmp_path, lens=False)
    reader = FeaturesReader(LocalFiles(tmp_path))
    assert reader.info.no_logit_lens == "no lens"
    table = reader.features()
    for side in ("promoted", "suppressed"):
        assert all(table[f"{side}{suffix}"].null_count == 10 for suffix in ("", "_logits", "_tokens"))
    assert table["neighbours"].null_count == 0


def test_examples_point_at_the_codes(tmp_path: Path) -> None:
    row, position, feature, value = write(tmp_path)
    at = {(f, r, p): v for f, r, p, v in zip(feature, row, position, value, strict=True)}
    reader = FeaturesReader(LocalFiles(tmp_path))
    edges = reader.features(["part_edges"])["part_edges"].to_pylist()
    examples = reader.examples().to_pylist()
    for e in examples:
        f, r = e["feature"], e["row"]
        assert e["activation"] == at[f, r, e["position"]] == e["acts"][e["position"] - e["start"]]
        assert e["acts"] == [at.get((f, r, e["start"] + i), 0) for i in range(len(e["acts"]))]
        assert e["start"] == max(0, e["position"] - 32)
        assert e["start"] + len(e["acts"]) == min(50, e["position"] + 17)
        if e["kind"] == "quantile":
            assert edges[f][e["part"]] <= e["activation"] < edges[f][e["part"] + 1]
        else:
            assert e["part"] is None
    kinds = [e["kind"] for e in examples if e["feature"] == 0]
    assert kinds == ["top"] * 2 + ["quantile"] * 2 * PARTS + ["uniform"] * 3


def test_reads_some_features_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_ROW_GROUP", 4)
    write(tmp_path)
    reader = FeaturesReader(LocalFiles(tmp_path))
    assert pq.ParquetFile(tmp_path / EXAMPLES).num_row_groups == 3
    whole = reader.examples()
    wanted = [f in (2, 9) for f in whole["feature"].to_pylist()]
    assert reader.examples([9, 2]).equals(whole.filter(wanted))
    assert reader.examples([4]).num_rows == reader.examples([]).num_rows == 0
    assert reader.examples([1], ["row"]).column_names == ["row"]
    assert reader.features(["density"]).column_names == ["density"]
    assert reader.settings == {"seed": 0}
    with pytest.raises(FeaturesError, match="they are 0 to 9"):
        reader.examples([10])


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name)
    for name in (FEATURES, EXAMPLES, INFO):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_is_not_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match=r"there is no examples\.parquet, features\.json, features\.parquet"):
        FeaturesReader(LocalFiles(tmp_path))
    write(tmp_path)
    body = json.loads((tmp_path / INFO).read_text())
    (tmp_path / INFO).write_text(json.dumps({**body, "format": 2}))
    with pytest.raises(FeaturesError, match="not a description"):
        FeaturesReader(LocalFiles(tmp_path))
