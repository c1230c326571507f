"""The label stage on real components: from the stream and from a cache, repeated, stopped, and what each setting changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.labeller import Labeller
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.extract import ExtractConfig
from configs.label import LabelConfig
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import extract, label
from sae.formats.labels import LabelsError, LabelsReader
from tests.actors import extract_world as world
from tests.actors.extract_world import LENGTH, REQUIREMENT, ROWS, WIDTH, extract_job, files_of, inline


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    return world.make_world(tmp_path_factory.mktemp("world"), tiny_gpt2)


@pytest.fixture(scope="module")
def features(store: Store, tmp_path_factory: pytest.TempPathFactory) -> list[ArtifactRef]:
    """Features of one SAE that was trained from the stream, and of one that was trained from a cache of the same values."""
    root = tmp_path_factory.mktemp("saes")
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        streamed = world.make_saes(store, world.train_config(None), None, root / "streamed")
        cached = world.train_config("fp32")
        saes = streamed + world.make_saes(
            store, cached, world.make_cache(store, cached, root / "cache"), root / "cached"
        )
        made = []
        for sae in saes:
            config = ExtractConfig(sae=str(sae), rows_per_chunk=8, batch_rows=4, top_examples=3, lm_dtype="fp32")
            job = extract_job(store, config, [sae], root / f"job-{sae.id}")
            extract.run(job)
            made.append(job.outputs[0].ref)
    return made


def label_job(store: Store, features: ArtifactRef, scratch: Path, **fields: object) -> JobContext:
    config = LabelConfig.model_validate({"features": str(features), **fields})
    given = {"features": [features]}
    return JobContext(config, label.outputs(config, given, ""), store, scratch, given, requirement=REQUIREMENT)


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    inline(monkeypatch)
    monkeypatch.setattr("actors.labeller.make_labeller", Labeller)


def test_every_feature_has_a_type_and_labels_with_scores_beside_controls(
    store: Store, features: list[ArtifactRef], tmp_path: Path
) -> None:
    job = label_job(store, features[0], tmp_path)
    label.run(job)
    ref = job.outputs[0].ref
    reader = LabelsReader(store.files(ref))
    table = reader.features().to_pylist()
    assert [row["feature"] for row in table] == list(range(WIDTH))
    assert table[7]["type"] == "obscure" and table[7]["label"] is None, "a feature that never fires"
    assert reader.info.labelled == sum(row["label"] is not None for row in table) > WIDTH / 2
    assert sum(reader.info.types.values()) == WIDTH
    assert store.files(ref).manifest.summary["sae"] == reader.info.inputs["sae"]
    assert store.files(ref).manifest.bytes < label.STAGE.store_bytes(job.config, job.inputs, store)
    effects = reader.info.effects
    assert effects["measured"] == sum(row["ablation"] is not None for row in table) > WIDTH / 2
    assert effects["promotion_beats"] == sum((row["promotion_low"] or 0) > 0 for row in table)
    assert table[7]["ablation"] is None and table[7]["input_score"] is None
    for row in table:
        labels = reader.labels(row["feature"])
        assert [one["rank"] for one in labels] == list(range(len(labels)))
        for one in labels:
            assert one["permuted_feature"] != row["feature"]
            assert one["score_low"] <= one["score"] <= one["score_high"]
            assert one["difference_low"] <= one["difference"] <= one["difference_high"]
            assert one["difference"] == pytest.approx(one["score"] - one["permuted_score"])
            assert len(one["evidence_rows"]) == len(one["evidence_positions"]) > 0
        if labels:
            assert (labels[0]["label"], labels[0]["score"]) == (row["label"], row["label_score"])
    with pytest.raises(LabelsError, match="no feature 96: they are 0 to 95"):
        reader.labels(WIDTH)


def test_model_and_cache_give_the_same_labels_and_so_does_a_repetition(
    store: Store, features: list[ArtifactRef], tmp_path: Path
) -> None:
    made = []
    for number, ref in enumerate(features):
        job = label_job(store, ref, tmp_path, seed=3)
        label.run(job)
        made.append(job.outputs[0].ref)
        assert label_job(store, ref, tmp_path, seed=3).outputs[0].ref == made[number]
    first, second = (files_of(store, ref) for ref in made)
    assert first["labels.parquet"] == second["labels.parquet"]
    assert first["features.parquet"] == second["features.parquet"]


def test_each_setting_changes_the_labels(store: Store, features: list[ArtifactRef], tmp_path: Path) -> None:
    settings: list[dict[str, object]] = [
        {},
        {"seed": 1},
        {"examples": 8},
        {"strength": 0.0},
        {"min_cosine": 0.0},
        {"positions": LENGTH * (ROWS // 2)},
        {"effect_examples": 0},
        {"effect_examples": 1},
    ]
    found = []
    for fields in settings:
        job = label_job(store, features[0], tmp_path, **fields)
        label.run(job)
        files = files_of(store, job.outputs[0].ref)
        found.append(files["labels.parquet"] + files["features.parquet"])
    assert len(set(found)) == len(settings)


def test_a_stopped_job_publishes_nothing(
    store: Store, features: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.LocalChannel, "stop_requested", lambda self: True)
    job = label_job(store, features[0], tmp_path, seed=9)
    with pytest.raises(Stopped, match="stopped before all features were labelled"):
        label.run(job)
    assert job.missing()
