"""The train stage on Ray: stops leave a checkpoint, faults are one clear message. Bytes: tests/actors/test_trainer.py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from actors.trainer import LAST_FILE, SAE_FILES
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import train
from sae.calibration import NonFiniteActivations
from tests.artifacts import MODEL, TOKENS, make_job, put_folder, tiny_store
from tests.kills import INPUTS, TRAIN


@pytest.fixture(scope="module")
def store(ray_cluster: str, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny_store(tmp_path_factory.mktemp("train"), tiny_gpt2)


def _job(store: Store, fp: str = "d" * 16, inputs: dict[str, list[ArtifactRef]] = INPUTS, **more: Any) -> JobContext:
    settings = {**TRAIN, "rows": 48, "epochs": 2, **more.pop("settings", {})}
    return make_job(train, TrainConfig.model_validate(settings), store, inputs, fp, **more)


def test_a_stop_leaves_a_checkpoint_and_what_is_finished_is_published(store: Store, tmp_path: Path) -> None:
    # Requested while the workers still start: they stop after the first block, however fast the rest would be.
    stopped = _job(store, stop=lambda: True, requirement=Requirement(workers=2, threads=1))
    with pytest.raises(Stopped, match="with a checkpoint before block 1"):
        train.run(stopped)
    assert store.list("checkpoints")

    for number, output in enumerate(stopped.outputs):
        for name in SAE_FILES:
            path = tmp_path / name
            path.write_text(f"{number}")
            store.put(output.ref, 2, name, path, extra={"mse": 0.1} if name == LAST_FILE else {}, part=True)
    train.run(_job(store, attempt=2))  # nothing is left to train
    assert [store.manifest(output.ref).summary["mse"] for output in stopped.outputs] == [0.1] * 2
    assert not store.list("checkpoints")


def test_requirements_that_cannot_be_used_are_refused(store: Store) -> None:
    config = _job(store).config
    with pytest.raises(ValueError, match=r"3 workers cannot share 2 lanes: set resources\.workers to at most 2"):
        train.check(config, Requirement(workers=3))
    with pytest.raises(ValueError, match=r"2 workers with resources\.gpus=0\.5 would share a GPU"):
        train.check(config, Requirement(workers=2, gpus=0.5, device="cuda"))
    train.check(config, Requirement(gpus=0.5, device="cuda"))
    train.check(config, Requirement(workers=2, gpus=1, device="cuda"))


def test_the_bytes_that_a_run_stores_are_known_before_it_starts(store: Store) -> None:
    """Two SAEs of d 48: 256 and 128 latents. Weights fp32; a checkpoint also holds Adam's moments and the counters."""
    weights = 4 * sum(2 * width * 48 + 3 * width + 48 for width in (256, 128))
    config = _job(store).config
    assert train.store_bytes(config, INPUTS, store) == weights + 3 * (3 * weights + 8 * (256 + 128))


def test_faults_end_in_their_own_message_and_leave_nothing(store: Store, tiny_gpt2: Path, tmp_path: Path) -> None:
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
    assert all(store.manifest(output.ref) is None for output in job.outputs)
    assert broken != MODEL
