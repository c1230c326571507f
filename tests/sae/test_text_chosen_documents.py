"""Which documents are tokenized, of which split, and with which columns: the same whatever the chunks."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from configs.tokenize import Resplit
from sae.formats.dataset import DatasetInfo
from sae.text.chosen_documents import check_columns, chosen_documents, extra_columns, metadata_of
from sae.text.flat_tokens import open_flat, write_flat
from sae.text.packing import pack_shard
from sae.text.shard_layout import split_layouts, split_shards
from sae.text.splits import heldout_split
from sae.text.tokenizer_spec import TokenizeError
from tests.sae.test_text_packing import SPLITS, settings_of, spec

rows = st.lists(
    st.tuples(st.sampled_from(SPLITS), st.text("ab", max_size=3), st.sampled_from([None, "x", "y", "z"])), max_size=20
)


def table(given: list[tuple[str, str, str | None]]) -> pa.Table:
    splits, texts, groups = zip(*given, strict=True) if given else ((), (), ())
    columns = {"split": splits, "text": texts, "group": groups}
    return pa.table(
        {"doc": pa.array(range(len(given)), pa.int64())}
        | {name: pa.array(values, pa.string()) for name, values in columns.items()}
    )


def chosen(given: list[tuple[str, str, str | None]], **options: Any) -> dict[int, str]:
    """Split of each chosen document by number."""
    found = chosen_documents(table(given), settings_of(8, **options))
    assert found.column_names == ["doc", "split", "text", "group"]
    return dict(zip(found["doc"].to_pylist(), found["split"].to_pylist(), strict=True))


@settings(deadline=None)
@given(given=rows, splits=st.sets(st.sampled_from(SPLITS), min_size=1))
def test_other_splits_are_left_out(given: list[tuple[str, str, str | None]], splits: set[str]) -> None:
    found = chosen(given, splits=tuple(splits))
    assert found == {doc: split for doc, (split, _, _) in enumerate(given) if split in splits}


@settings(deadline=None)
@given(given=rows, cut=st.integers(0, 20), seed=st.integers(0, 3), group=st.sampled_from([None, "group"]))
def test_what_belongs_together_falls_into_one_split(
    given: list[tuple[str, str, str | None]], cut: int, seed: int, group: str | None
) -> None:
    resplit = {"test": 0.4, "validation": 0.3, "seed": seed, "group_column": group}
    found = chosen(given, resplit=resplit)
    parts = [chosen(part, resplit=resplit).values() for part in (given[:cut], given[cut:])]
    assert list(found.values()) == [split for part in parts for split in part], "whatever the chunks"
    for doc, (_, text, value) in enumerate(given):
        for other, (_, other_text, other_value) in enumerate(given):
            if (group and value is not None and value == other_value) or (
                text == other_text and (not group or value is other_value is None)
            ):
                assert found[doc] == found[other]
    kept = chosen(given, resplit=resplit, splits=("test",))
    assert kept == {doc: split for doc, split in found.items() if split == "test"}


def test_shares_are_those_of_the_options() -> None:
    given = [("train", f"text {i}", f"group {i // 2}") for i in range(20_000)]
    for group in (None, "group"):
        found = list(chosen(given, resplit={"test": 0.2, "validation": 0.1, "group_column": group}).values())
        assert found.count("test") / 20_000 == pytest.approx(0.2, abs=0.01)
        assert found.count("validation") / 20_000 == pytest.approx(0.1, abs=0.01)
        assert found != list(
            chosen(given, resplit={"test": 0.2, "validation": 0.1, "group_column": group, "seed": 1}).values()
        )
    # The same choice as the one that a dataset's held-out share makes.
    by_text = chosen(given, resplit={"test": 0.2})
    assert list(by_text.values()) == [heldout_split(text, 0.2, 0) for _, text, _ in given]


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing for split train"):
        Resplit(test=0.5, validation=0.5)
    with pytest.raises(ValueError, match="splits"):
        settings_of(8, splits=[])
    config = settings_of(8, resplit={"group_column": "topic"})
    assert extra_columns(config) == ["topic"]
    info = DatasetInfo(1, 1, {}, ["author", "topics"], {})
    with pytest.raises(
        TokenizeError, match=r"datasets/x has no column .*topic.*: beside the text it has author, topics"
    ):
        check_columns(info, config, "datasets/x")
    check_columns(info, settings_of(8), "datasets/x")
    assert settings_of(8, splits=["test", "train", "test"]).splits == ("train", "test")


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(0, 12), st.sampled_from([None, "", "x", "größer"])), min_size=1, max_size=8),
    packing=st.sampled_from(["concatenate", "best_fit", "off"]),
)
def test_metadata_stays_with_its_document(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[int, str | None]], packing: str
) -> None:
    assume(any(tokens for tokens, _ in values))
    folder, known = tmp_path_factory.mktemp("rows"), spec(0, 1)
    config = settings_of(8, rows_per_shard=1000, packing=packing, metadata_columns=["group", "only in other files"])
    given = [(SPLITS[i % 2], "", group) for i, (_, group) in enumerate(values)]
    documents = chosen_documents(table(given), config)
    ids = [[5] * tokens for tokens, _ in values]
    kept = metadata_of(documents, config)
    counts = write_flat(folder / "flat", list(range(len(values))), [row[0] for row in given], ids, known, kept)
    for layout in split_layouts([counts], known, config):
        (shard,) = split_shards(layout, config.rows_per_shard)
        pack_shard(shard, layout, lambda _: open_flat(folder / "flat"), known, 8, config, folder / "shard")
        for row in pq.read_table(folder / "shard").to_pylist():
            expected = [{"group": values[s["doc"]][1], "only in other files": None} for s in row["segments"]]
            assert row["metadata"] == expected


def test_metadata_is_text() -> None:
    documents = table([("train", "a", "b")]).append_column("n", pa.array([1]))
    with pytest.raises(TokenizeError, match="column 'n' of the dataset holds int64, and text is needed"):
        metadata_of(documents, settings_of(8, metadata_columns=["n"]))
    assert metadata_of(documents, settings_of(8)) is None
    with pytest.raises(ValueError, match="named twice"):
        settings_of(8, metadata_columns=["n", "n"])
