"""An SAE of sparsify and its import, on a tiny model; workers run in the test's process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from actors import exporter, importer
from actors.labeller import Labeller
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.import_ import ImportConfig
from jobs.life.stage_context import JobContext
from jobs.stages import import_
from tests.actors.extract_world import MODEL, POLICY, REQUIREMENT, TOKENS, inline, make_world

D, F, K = 48, 96, 5
INPUTS = {"model": [MODEL], "tokens": [TOKENS]}


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    inline(monkeypatch)
    monkeypatch.setattr(importer, "make_importer", lambda task, environment: importer.Importer(task))
    monkeypatch.setattr(exporter, "make_exporter", exporter.Exporter)
    monkeypatch.setattr("actors.labeller.make_labeller", Labeller)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    return make_world(tmp_path_factory.mktemp("world"), tiny_gpt2)


def write_sparsify(folder: Path, hookpoint: str = "h.1", d: int = D) -> Path:
    """What sparsify saves, random."""
    own = folder / hookpoint
    own.mkdir(parents=True)
    generator = torch.Generator().manual_seed(4)
    W = torch.nn.functional.normalize(torch.randn(F, d, generator=generator), dim=1)
    tensors = {
        "encoder.weight": W.clone(),
        "encoder.bias": torch.zeros(F),
        "W_dec": W,
        "b_dec": 0.1 * torch.randn(d, generator=generator),
    }
    save_file(tensors, own / "sae.safetensors")
    (own / "cfg.json").write_text(json.dumps({"activation": "topk", "k": K, "d_in": d, "num_latents": F}))
    return folder


def import_config(folder: Path, **more: Any) -> ImportConfig:
    values = {
        "source": {"type": "local", "path": str(folder)},
        "format": "sparsify",
        "model": str(MODEL),
        "tokens": str(TOKENS),
    }
    policy = POLICY.model_dump()
    return ImportConfig.model_validate({**values, "policy": policy, "batch_rows": 4, "lm_dtype": "fp32", **more})


def import_job(store: Store, config: ImportConfig, scratch: Path) -> JobContext:
    scratch.mkdir()
    return JobContext(config, import_.outputs(config, INPUTS, ""), store, scratch, INPUTS, requirement=REQUIREMENT)


@pytest.fixture(scope="module")
def imported(store: Store, tmp_path_factory: pytest.TempPathFactory) -> ArtifactRef:
    """The SAE of sparsify, imported; used by most tests here."""
    root = tmp_path_factory.mktemp("imported")
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        patch.setattr(importer, "make_importer", lambda task, environment: importer.Importer(task))
        job = import_job(store, import_config(write_sparsify(root / "run")), root / "job")
        import_.run(job)
        import_.run(job)  # there already
    return job.outputs[0].ref
