"""Attempts of the probe stage: workers, one of which is killed, stops, batches and chunks, bytes, and artifacts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.requirements import Requirement
from jobs.life.stage_context import Stopped
from jobs.stages import probe
from tests.actors.extract_world import HOOKS, bytes_written, files_of, train_config
from tests.actors.kill import one_killed
from tests.jobs.probe_world import body_of, job_of, one_process, saes, store, undisturbed
from tests.jobs.reported_progress import ReportedProgress

__all__ = ["one_process", "saes", "store", "undisturbed"]


@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_of_which_one_is_killed_give_the_bytes_of_one(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    job = job_of(store, saes[:1], tmp_path / "job", {}, requirement=Requirement(workers=2, cpus=1, threads=1))
    with one_killed(store, job.outputs[0].ref, "Prober"):
        probe.run(job)
    found = files_of(store, job.outputs[0].ref)
    store.delete(job.outputs[0].ref)
    assert found == undisturbed


def test_a_stopped_job_keeps_its_chunks_and_resumes(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    job = job_of(store, saes[:1], tmp_path / "job", {})
    ref = job.outputs[0].ref
    job.stop = lambda: len(store.parts(ref)) >= 2
    with pytest.raises(Stopped, match="kept"):
        probe.run(job)
    assert len(store.parts(ref)) == 2 and store.manifest(ref) is None
    progress = ReportedProgress()
    again = job_of(store, saes[:1], tmp_path / "again", {}, attempt=2, progress=progress)
    probe.run(again)
    found = files_of(store, ref)
    store.delete(ref)
    assert found == undisturbed
    assert progress.reported[0] == 300 and progress.reported == sorted(progress.reported)


def test_batches_and_chunks_change_no_figure(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    body = body_of(store, saes[:1], tmp_path / "job", {"batch_rows": 3, "rows_per_chunk": 71})
    assert body == json.loads(undisturbed["probes.json"])


def test_bytes_are_predicted_before_the_start(
    store: Store, saes: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(store, saes[:1], tmp_path / "job", {})
    written = bytes_written(monkeypatch)
    probe.run(job)
    store.delete(job.outputs[0].ref)
    assert 1 < probe.store_bytes(job.config, job.inputs, store) / sum(written) < 4


def test_each_sae_of_a_run_is_an_artifact_of_its_own(store: Store, saes: list[ArtifactRef], tmp_path: Path) -> None:
    run = train_config(None, HOOKS).model_dump()
    outputs = job_of(store, saes, tmp_path / "job", {"sae": run}).outputs
    alone = [job_of(store, [sae], tmp_path / sae.id, {"sae": str(sae)}).outputs[0] for sae in saes]
    assert outputs == alone
