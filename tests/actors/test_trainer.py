"""The training worker without Ray: workers, sources, stops and resumes change no byte."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist

from actors.trainer import TrainTask, run_task
from cluster.store import CorruptFile, Store
from configs.artifact_ids import ArtifactRef
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs.stages import harvest
from sae.training.collectives import DistributedCollective, LocalCollective
from tests.actors.extract_world import inline
from tests.artifacts import LENGTH, MODEL, TOKENS, make_job, tiny_store
from tests.kills import INPUTS, KINDS, TRAIN

SAES = {number: ArtifactRef("saes", f"{number:x}" * 16) for number in range(len(KINDS))}


class Channel(NamedTuple):
    """Reports to nobody, and asks for a stop or not."""

    stop: bool = False

    def report(self, figure: str, value: int) -> None: ...

    def report_curve(self, sae: str, text: str, length: int) -> None: ...

    def stop_requested(self) -> bool:
        return self.stop


@pytest.fixture(scope="module")
def store(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny_store(tmp_path_factory.mktemp("train"), tiny_gpt2)


def _task(store: Store, stop: bool = False, cache: ArtifactRef | None = None, attempt: int = 1) -> TrainTask:
    settings = {
        **TRAIN,
        "saes": KINDS,
        "rows": 36,
        "early_stop": {"rows": 4, "every_blocks": 1, "patience": 2, "min_gain": 0.05},
        "epochs": 2,
        "runtime": {},
        **({"cache": {"dtype": "fp32", "rows_per_chunk": 12}} if cache else {}),
    }
    return TrainTask(
        config=TrainConfig.model_validate(settings), saes=SAES, metadata={"raylens": {}}, model=MODEL, tokens=TOKENS,
        cache=cache, store=store, run="c" * 16, attempt=attempt, requirement=Requirement(), channel=Channel(stop),  # type: ignore[arg-type]
    )  # fmt: skip


def _trained(task: TrainTask, scratch: Path) -> dict[str, str]:
    """Trains on one worker; SHA-256 of every file by SAE and name. What was trained is removed again."""
    scratch.mkdir()
    run_task(task, LocalCollective(), "cpu", scratch)
    return _files(task.store)


def _files(store: Store) -> dict[str, str]:
    found = {f"{ref.id}/{name}": file.sha256 for ref in SAES.values() for name, (file, _) in store.parts(ref).items()}
    for ref in (*SAES.values(), *store.list("checkpoints", "c" * 8, unfinished=True)):
        store.delete(ref)
    return found


def _json(store: Store, ref: ArtifactRef, name: str) -> Any:
    return json.loads((Path(store.url) / str(ref) / store.parts(ref)[name][0].path).read_text())


@pytest.fixture(scope="module")
def expected(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    torch.set_num_threads(1)
    task, scratch = _task(store), tmp_path_factory.mktemp("expected")
    run_task(task, LocalCollective(), "cpu", scratch)
    for number, ref in SAES.items():
        training = _json(store, ref, "training.json")
        positions = training["positions"]
        rows = training["steps"] * 4
        assert rows == KINDS[number].get("train_rows", 32 * 2) or training["stopped_early"]
        assert positions["slots"] == positions["data"] + sum(positions["excluded"].values()) == rows * LENGTH
        assert positions["excluded"]["bos"] == rows or rows == 24  # whose last step is not the last of its block
        assert positions["excluded"]["sink"] == 0
    cfg = _json(store, SAES[1], "cfg.json")
    assert (cfg["architecture"], cfg["metadata"]["raylens"]) == (
        "jumprelu", {"architecture": "batchtopk", "target_l0": 4}
    )  # fmt: skip
    return _files(store)


def _both(tasks: list[TrainTask], rank: int, rendezvous: str, scratch: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    for task in tasks:
        run_task(task, DistributedCollective(), "cpu", scratch)
    dist.destroy_process_group()


def test_two_workers_give_the_bytes_of_one(store: Store, expected: dict[str, str], tmp_path: Path) -> None:
    """They stop after the first block, and resume together from one checkpoint."""
    tasks, rendezvous = [_task(store, stop=True), _task(store, attempt=2)], f"file://{tmp_path}/rendezvous"
    for name in "01":
        (tmp_path / name).mkdir()
    second = multiprocessing.get_context("spawn").Process(target=_both, args=(tasks, 1, rendezvous, tmp_path / "1"))
    second.start()
    _both(tasks, 0, rendezvous, tmp_path / "0")
    second.join()
    assert second.exitcode == 0
    assert len(store.list("checkpoints")) == 1  # of the stop
    assert _files(store) == expected


def test_a_cache_gives_the_bytes_of_a_stream(
    store: Store, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    task = _task(store, cache=ArtifactRef("activations", "e" * 16))
    wanted = task.config.harvest()
    assert wanted is not None
    job = make_job(harvest, wanted, store, INPUTS, "e" * 16)
    harvest.run(job)
    assert _trained(task._replace(cache=job.outputs[0].ref), tmp_path / "train") == expected
    written = sum(file.stat().st_size for file in (Path(store.url) / str(job.outputs[0].ref)).rglob("*chunk-*"))
    estimate = harvest.store_bytes(wanted, INPUTS, store)
    assert 0.9 * estimate < written < 1.1 * estimate


def test_a_stop_leaves_a_checkpoint_and_a_damaged_one_is_named(
    store: Store, expected: dict[str, str], tmp_path: Path
) -> None:
    run_task(_task(store, stop=True), LocalCollective(), "cpu", tmp_path)
    (checkpoint,) = store.list("checkpoints")
    path = next(p for p in (Path(store.url) / str(checkpoint)).rglob("*.safetensors"))
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([*good[:-100], good[-100] ^ 1, *good[-99:]]))
    with pytest.raises(CorruptFile, match=rf"{checkpoint}.*sha256"):
        run_task(_task(store, attempt=2), LocalCollective(), "cpu", tmp_path)
    path.write_bytes(good)
    assert _trained(_task(store, attempt=2), tmp_path / "resumed") == expected
