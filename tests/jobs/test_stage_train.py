"""The train stage on Ray: workers and sources change no byte, stops leave a checkpoint, faults are one clear message."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cluster.store import CorruptFile, Store
from configs.identity import ArtifactRef
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import harvest, train
from sae.calibration import NonFiniteActivations
from sae.language_model import HookNotFound
from tests.artifacts import LENGTH, MODEL, TOKENS, hashes, make_job, put_folder, tiny_store
from tests.kills import INPUTS, TRAIN


@pytest.fixture(scope="module")
def store(ray_cluster: str, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny_store(tmp_path_factory.mktemp("train"), tiny_gpt2)


def _job(store: Store, fp: str = "d" * 16, inputs: dict[str, list[ArtifactRef]] = INPUTS, **more: Any) -> JobContext:
    settings = {**TRAIN, "rows": 48, "epochs": 2, **more.pop("settings", {})}
    return make_job(train, TrainConfig.model_validate(settings), store, inputs, fp, **more)


def _files(store: Store, job: JobContext) -> list[dict[str, str]]:
    return [hashes(store, output.ref) for output in job.outputs]


def _drop(store: Store, job: JobContext) -> None:
    for output in job.outputs:
        store.delete(output.ref)


def test_two_workers_and_a_cache_give_the_bytes_of_one_worker_that_streams(store: Store) -> None:
    one = _job(store)
    train.run(one)
    expected = _files(store, one)
    assert not store.list("checkpoints")
    for output in one.outputs:
        positions = json.loads(store.files(output.ref).path("training.json").read_text())["positions"]
        assert positions["slots"] == positions["data"] + sum(positions["excluded"].values()) == 48 * 2 * LENGTH
        assert positions["excluded"]["bos"] == 48 * 2
        assert positions["excluded"]["sink"] >= 0
    _drop(store, one)

    two = _job(store, requirement=Requirement(workers=2, threads=1))
    train.run(two)
    assert _files(store, two) == expected
    _drop(store, two)

    cached = _job(store, settings={"cache": {"dtype": "fp32", "rows_per_chunk": 16}})
    stored = make_job(harvest, cached.config.harvest(), store, INPUTS, "e" * 16)
    harvest.run(stored)
    cached.inputs = {**INPUTS, "activations": [stored.outputs[0].ref]}
    assert [o.ref for o in cached.outputs] == [o.ref for o in one.outputs]
    train.run(cached)
    assert _files(store, cached) == expected
    _drop(store, cached)


def test_a_stop_leaves_a_checkpoint_and_a_damaged_one_is_named(store: Store) -> None:
    whole = _job(store)
    train.run(whole)
    expected = _files(store, whole)
    _drop(store, whole)

    # Asked for while the worker still starts: it holds after the first block, however fast the rest would be.
    with pytest.raises(Stopped, match="with a checkpoint before block 1"):
        train.run(_job(store, stop=lambda: True))
    (checkpoint,) = store.list("checkpoints")[-1:]
    path = next(p for p in (Path(store.url) / str(checkpoint)).rglob("*.safetensors"))
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([*good[:-100], good[-100] ^ 1, *good[-99:]]))
    with pytest.raises(CorruptFile, match=rf"{checkpoint}.*sha256"):
        train.run(_job(store, attempt=2))
    path.write_bytes(good)

    resumed = _job(store, attempt=2)
    train.run(resumed)
    assert _files(store, resumed) == expected
    assert not store.list("checkpoints")
    _drop(store, resumed)


def test_faults_end_in_their_own_message_and_leave_nothing(store: Store, tiny_gpt2: Path, tmp_path: Path) -> None:
    absent = _job(store, settings={"saes": [{"hook": "blocks.99.hook_resid_post", "d_sae": 8, "k": 2}]})
    with pytest.raises(HookNotFound, match=r"no hook 'blocks\.99\.hook_resid_post'"):
        train.run(absent)

    with pytest.raises(ValueError, match=r"3 workers cannot share 2 lanes: set resources\.workers to at most 2"):
        train.run(_job(store, requirement=Requirement(workers=3)))
    with pytest.raises(ValueError, match="wants 1,000 rows of split 'train', which has 64"):
        train.run(_job(store, settings={"rows": 1000}))

    shutil.copytree(tiny_gpt2, tmp_path / "nan")
    weights = load_file(tmp_path / "nan" / "model.safetensors")
    weights["transformer.h.1.mlp.c_proj.bias"] = torch.full_like(
        weights["transformer.h.1.mlp.c_proj.bias"], float("nan")
    )
    save_file(weights, tmp_path / "nan" / "model.safetensors", metadata={"format": "pt"})
    broken = ArtifactRef("models", "9" * 16)
    put_folder(store, broken, tmp_path / "nan", "download")
    inputs = {"model": [broken], "tokens": [TOKENS]}
    job = _job(store, fp="9" * 16, inputs=inputs, settings={"model": str(broken)})
    with pytest.raises(NonFiniteActivations, match=r"at blocks\.1\.hook_resid_post, row 0, position 0"):
        train.run(job)
    assert all(store.manifest(output.ref) is None for output in (*absent.outputs, *job.outputs))
    assert broken != MODEL
