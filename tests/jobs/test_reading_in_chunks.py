"""A dataset made by several workers: the bytes of one, a fault that is named in order, a killed worker, a stop."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.download import DatasetOptions, DownloadConfig
from configs.requirements import Requirement
from configs.resource_profiles import load_profile
from jobs.life.planner import Planner, step_requirement
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import download
from sae.formats.dataset import DatasetError
from sae.text import source_chunks
from sae.text.readers import SourceFile
from sae.text.source_chunks import divide
from tests.actors.kill import one_killed
from tests.artifacts import hashes, make_job
from tests.tiny_model import documents

SHARED = ArtifactRef("checkpoints", "5" * 16)


@pytest.fixture
def store(tmp_path: Path, ray_cluster: str) -> Store:
    return Store.open(str(tmp_path / "store"))


def write_files(folder: Path, files: int, rows: int = 60) -> DownloadConfig:
    folder.mkdir(exist_ok=True)
    for number in range(files):
        texts = documents(rows, seed=number)
        texts[3] = texts[4] = " "
        lines = [json.dumps({"text": text, "n": i}) for i, text in enumerate(texts)]
        (folder / f"{number:02d}.jsonl").write_text("\n".join([*lines, json.dumps({"text": "\ud83d"})]) + "\n")
    source = {"type": "local", "path": str(folder)}
    options = {"invalid_text": "skip", "near_duplicates": 0.8}
    return DownloadConfig.model_validate({"what": "dataset", "source": source, "dataset": options})


def job_of(store: Store, config: DownloadConfig, workers: int = 2, **more: Any) -> JobContext:
    return make_job(
        download, config, store, {}, SHARED.id, requirement=Requirement(workers=workers, cpus=1, threads=1), **more
    )


def run_in_chunks(job: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the job as if its small files were large: each one is a chunk."""
    from actors.download_task import Fetched

    monkeypatch.setattr(source_chunks, "ONE_TASK_BYTES", 0)
    monkeypatch.setattr(source_chunks, "CHUNK_BYTES", 1)
    folder = Path(job.config.source.path)
    files = [SourceFile(path.name, path) for path in sorted(folder.iterdir())]
    source = divide(files, job.config.dataset or DatasetOptions())
    assert source is not None
    assert len(source.chunks) == len(files)
    fetched = Fetched(source, ray.get_runtime_context().get_node_id(), ("a note on the source",))
    monkeypatch.setattr(download, "_start", lambda *_, **__: None)
    monkeypatch.setattr(download, "_follow", lambda *_: fetched)
    download.run(job)


def made(store: Store, job: JobContext) -> tuple[dict[str, str], dict[str, Any]]:
    """Hashes of the dataset's files, and its summary."""
    manifest = store.manifest(job.outputs[0].ref)
    assert manifest is not None
    return hashes(store, job.outputs[0].ref), manifest.summary


@pytest.fixture
def expected(store: Store, tmp_path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """What one worker makes of the files, in one pass."""
    job = job_of(store, write_files(tmp_path / "files", 12), workers=1)
    download.run(job)
    found = made(store, job)
    store.delete(job.outputs[0].ref)
    found[1]["notes"].insert(0, "a note on the source")
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_and_figures_of_one_pass(
    store: Store, tmp_path: Path, expected: Any, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(store, write_files(tmp_path / "files", 12), workers)
    run_in_chunks(job, monkeypatch)
    assert made(store, job) == expected
    assert (expected[1]["empty_documents"], expected[1]["invalid_documents"]) == (24, 12)
    assert not store.parts(SHARED)


def test_a_killed_worker_has_its_chunk_read_again(
    store: Store, tmp_path: Path, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(store, write_files(tmp_path / "files", 12))
    with one_killed(store, SHARED, "DatasetWorker"):
        run_in_chunks(job, monkeypatch)
    assert made(store, job) == expected


def test_a_stopped_job_goes_on_where_it_was(
    store: Store, tmp_path: Path, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_files(tmp_path / "files", 12)
    job = job_of(store, config, stop=lambda: len(store.parts(SHARED)) > 8)
    with pytest.raises(Stopped, match="the chunks that were read are kept"):
        run_in_chunks(job, monkeypatch)
    before = store.parts(SHARED)
    seen: list[bool] = []

    def is_kept() -> bool:
        parts = store.parts(SHARED)
        seen.append(all(parts[name] == part for name, part in before.items()))
        return False

    again = job_of(store, config, attempt=2, stop=is_kept)
    run_in_chunks(again, monkeypatch)
    assert made(store, again) == expected
    assert seen
    assert all(seen)  # a part that was made again would be of the second attempt


def test_the_first_fault_in_the_order_of_files_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_files(tmp_path / "files", 6)
    for number, rows in (
        (0, 200_000),
        (2, 0),
        (4, 0),
    ):  # the first takes seconds, in which the other worker finds the second
        with (tmp_path / f"files/{number:02d}.jsonl").open("w") as file:
            file.write('{"text": "fine"}\n' * rows + "no JSON\n")
    job = job_of(store, config)
    with pytest.raises(DatasetError, match=r"^cannot read 00\.jsonl .*: line 200001, column 1"):
        run_in_chunks(job, monkeypatch)
    assert store.manifest(job.outputs[0].ref) is None
    assert not store.parts(SHARED)


def test_a_large_source_is_divided_if_there_are_workers_for_it(store: Store, tmp_path: Path) -> None:
    """132 MiB of rows without text, and a few with some."""
    (tmp_path / "files").mkdir()
    for number in range(3):
        with (tmp_path / f"files/{number}.jsonl").open("w") as file:
            file.write(json.dumps({"text": " " * (44 << 20)}) + "\n")
            file.writelines(json.dumps({"text": text}) + "\n" for text in documents(20, seed=number))
    source = {"type": "local", "path": str(tmp_path / "files")}
    config = DownloadConfig.model_validate({"what": "dataset", "source": source})
    found, phases = [], list[str]()
    for workers in (1, 2):
        job = job_of(store, config, workers)
        job.progress = SimpleNamespace(  # type: ignore[assignment]
            start=lambda phase, *a: phases.append(phase), update=lambda *a: None, log=lambda *a: None
        )
        download.run(job)
        found.append(made(store, job))
        store.delete(job.outputs[0].ref)
    assert found[0] == found[1]
    assert phases[-2:] == ["read", "write"]
    assert "read" not in phases[:-2]


def test_what_workers_store_for_each_other_is_counted(tmp_path: Path) -> None:
    config = write_files(tmp_path / "files", 2)
    step = Planner().step(config)
    profile = load_profile("local", False)
    one = step_requirement(step, profile).store_bytes
    more = config.model_copy(update={"resources": config.resources.model_copy(update={"workers": 2})})
    size = sum(path.stat().st_size for path in (tmp_path / "files").iterdir())
    assert step_requirement(Planner().step(more), profile).store_bytes == one + size
