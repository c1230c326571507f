"""The evaluate stage on real components: figures, workers, kills, stops, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.store import CorruptFile, Manifest, Store
from configs.artifact_ids import ArtifactRef
from configs.evaluate import EvaluateConfig
from configs.requirements import Requirement
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import evaluate
from sae.formats.evaluation import read_counts, read_metrics
from tests.actors.extract_world import (
    HOOKS,
    LENGTH,
    REQUIREMENT,
    ROWS,
    WIDTH,
    K,
    bytes_written,
    files_of,
    inline,
    make_saes,
    make_world,
    train_config,
)
from tests.actors.kill import one_killed
from tests.jobs.reported_progress import ReportedProgress


@pytest.fixture(autouse=True)
def one_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluators run in this process, but in tests that want a cluster."""
    if "ray_cluster" not in request.fixturenames:
        inline(monkeypatch)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    return make_world(tmp_path_factory.mktemp("world"), tiny_gpt2)


@pytest.fixture(scope="module")
def saes(store: Store, tmp_path_factory: pytest.TempPathFactory) -> list[ArtifactRef]:
    """Two SAEs of one training run."""
    return make_saes(store, train_config(None, HOOKS), None, tmp_path_factory.mktemp("saes"))


def job_of(store: Store, saes: list[ArtifactRef], scratch: Path, config: dict[str, Any], **fields: Any) -> JobContext:
    scratch.mkdir()
    given = {"split": "train", "batch_rows": 2, "loss_rows": 5, "rows_per_chunk": 3, "lm_dtype": "fp32", **config}
    whole = EvaluateConfig.model_validate({"sae": str(saes[0]), **given})
    outputs = evaluate.outputs(whole, {"sae": saes}, "")
    return JobContext(whole, outputs, store, scratch, {"sae": saes}, **{"requirement": REQUIREMENT, **fields})


@pytest.fixture(scope="module")
def undisturbed(store: Store, saes: list[ArtifactRef], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The evaluation of the first SAE, by one worker that nothing befell; checked, and taken away again."""
    job = job_of(store, saes[:1], tmp_path_factory.mktemp("undisturbed") / "job", {})
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        evaluate.run(job)
        ref = job.outputs[0].ref
        _check_artifact(store, ref, saes[0])
        evaluate.run(job)  # finished: nothing to do
    found = files_of(store, ref)
    store.delete(ref)
    return found


def test_artifact_is_whole(undisturbed: dict[str, bytes]) -> None:
    assert set(undisturbed) == {"metrics.json", "density.parquet"}


def _check_artifact(store: Store, ref: ArtifactRef, sae: ArtifactRef) -> None:
    assert ref.kind == "evaluations"
    files = store.files(ref)
    metrics, counts = read_metrics(files), read_counts(files)
    assert files.manifest.summary == metrics
    left = {p.name for p in Path(store.location(ref)).rglob("*") if p.is_file()}
    assert left == {"metrics.json", "density.parquet", "manifest.json"}
    assert metrics["sae"] == str(sae)
    assert metrics["rows"] == ROWS
    assert metrics["loss"]["rows"] == 5
    assert metrics["tokens"] + sum(metrics["excluded"].values()) == ROWS * LENGTH
    assert metrics["excluded"]["bos"] == ROWS
    assert counts.sum() == round(metrics["l0"] * metrics["tokens"])
    assert metrics["l0"] == pytest.approx(K, abs=0.5)
    assert len(counts) == WIDTH
    assert counts[7] == 0
    assert metrics["alive"] == (counts > 0).sum()
    for name in ("ev", "ce_clean", "ce_sae", "ce_zero", "ce_mean", "kl_score_zero", "kl_score_mean", "ce_score_zero"):
        assert isinstance(metrics[name], float), name
    figures = {row["figure"]: row for row in metrics["card"]["figures"]}
    for name in (
        "ev",
        "l0",
        "l1",
        "mse",
        "cosine",
        "shrinkage",
        "ce_sae",
        "ce_score_zero",
        "ce_score_mean",
        "kl_score_zero",
    ):
        shown = figures[name]["sae"]
        assert shown["value"] == pytest.approx(metrics[name]), name
        assert shown["low"] <= shown["value"] <= shown["high"], name
    assert metrics["card"]["unit"] == "documents"
    assert metrics["weights"]["encoder_decoder_cosine"] == pytest.approx(1)
    assert metrics["ce_zero"] > metrics["ce_clean"]  # the tiny model has learned something that the hook carries


def run_anew(store: Store, job: JobContext) -> list[dict[str, bytes]]:
    """Runs a job from nothing and takes its artifacts away again."""
    evaluate.run(job)
    found = [files_of(store, output.ref) for output in job.outputs]
    for output in job.outputs:
        store.delete(output.ref)
    return found


def test_saes_of_a_run_are_named_and_measured_as_each_alone(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    made: list[Manifest] = []
    config = {"sae": train_config(None, HOOKS).model_dump()}
    job = job_of(store, saes, tmp_path / "job", config, claim=made.append)
    first, second = run_anew(store, job)
    assert [manifest.inputs for manifest in made] == [{"sae": str(sae)} for sae in saes], (
        "each is made from its own only"
    )
    assert first == undisturbed
    assert second != first
    assert job.outputs[1:] == job_of(store, saes[1:], tmp_path / "alone", {}).outputs


@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_of_which_one_is_killed_give_the_bytes_of_one(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    requirement = Requirement(workers=2, cpus=1, threads=1)
    job = job_of(store, saes[:1], tmp_path / "job", {}, requirement=requirement)
    with one_killed(store, job.outputs[0].ref, "Evaluator"):
        found = run_anew(store, job)
    assert found == [undisturbed]


def test_stopped_job_keeps_its_chunks_and_resumes(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    job = job_of(store, saes[:1], tmp_path / "job", {})
    ref = job.outputs[0].ref
    job.stop = lambda: len(store.parts(ref)) >= 2
    with pytest.raises(Stopped, match="kept"):
        evaluate.run(job)
    kept = store.parts(ref)
    assert len(kept) == 2
    assert store.manifest(ref) is None
    progress = ReportedProgress()
    again = job_of(store, saes[:1], tmp_path / "again", {}, attempt=2, progress=progress)
    assert run_anew(store, again) == [undisturbed]
    assert progress.reported[0] == 6
    assert progress.reported[-1] == ROWS
    assert progress.reported == sorted(progress.reported)


def test_bytes_are_predicted_before_the_start(
    store: Store, saes: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(store, saes, tmp_path / "job", {"rows_per_chunk": 8})
    written = bytes_written(monkeypatch)
    evaluate.run(job)
    for output in job.outputs:
        store.delete(output.ref)
    assert evaluate.store_bytes(job.config, {"sae": saes}, store) == pytest.approx(sum(written), rel=0.2)


def test_a_split_without_rows_is_named(store: Store, saes: list[ArtifactRef], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokens of split 'test'; there are train"):
        evaluate.run(job_of(store, saes, tmp_path / "job", {"split": "test"}))


def test_how_the_sae_is_named_and_where_it_runs_do_not_change_the_id(store: Store, saes: list[ArtifactRef]) -> None:
    def ids(**fields: Any) -> list[str]:
        config = EvaluateConfig.model_validate({"sae": str(saes[0]), **fields})
        return [output.ref.id for output in evaluate.outputs(config, {"sae": saes[:1]}, "x")]

    assert ids() == ids(resources={"workers": 3}) == ids(sae=json.loads(train_config(None, HOOKS).model_dump_json()))
    assert ids() != ids(rows=64)
    assert ids() != ids(loss_rows=8)
    assert ids() != ids(split="validation")


def test_a_damaged_sae_is_named(store: Store, saes: list[ArtifactRef], tmp_path: Path) -> None:
    files = store.files(saes[0])
    path = next(p for p in (Path(store.url) / str(saes[0])).rglob("sae_weights.safetensors"))
    assert files.path("sae_weights.safetensors")
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([*good[:-50], good[-50] ^ 1, *good[-49:]]))
    job = job_of(store, saes[:1], tmp_path / "job", {})
    try:
        with pytest.raises(CorruptFile, match=rf"{saes[0]}.*sha256"):
            evaluate.run(job)
    finally:
        path.write_bytes(good)
    assert store.manifest(job.outputs[0].ref) is None
