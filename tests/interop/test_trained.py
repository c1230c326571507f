"""What training exports, of every architecture, loads in the real SAELens and computes the same there on raw activations.

In the peers' environment, as test_saelens.py says. Of transcoders, input and target have different numbers of dimensions. SAELens
has no transcoders but those of ReLU and JumpReLU.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sae.formats.sae_folder import load_sae, write_sae
from sae.training.sae_trainer import SaeTrainer
from tests.interop.test_saelens import METADATA, PEERS, SCRIPT, TOLERANCE
from tests.sae import test_transcoder as transcoders
from tests.sae.test_architectures import OWN, STEPS, batch, config_of, trainer_of

CLASSES = {
    "topk": "TopKSAE", "batchtopk": "JumpReLUSAE", "hierarchicaltopk": "TopKSAE", "matryoshka": "JumpReLUSAE",
    "standard": "StandardSAE", "gated": "GatedSAE", "jumprelu": "JumpReLUSAE", "matchingpursuit": "MatchingPursuitSAE",
    "standard to": "Transcoder", "standard skip": "SkipTranscoder", "jumprelu to": "JumpReLUTranscoder",
    "batchtopk skip": "JumpReLUSkipTranscoder",
}  # fmt: skip


def _trained(name: str) -> tuple[SaeTrainer, torch.Tensor]:
    """An SAE after a few steps, and raw activations that it reads."""
    architecture, _, kind = name.partition(" ")
    if not kind:
        one, batches = trainer_of(config_of(architecture)), [batch(number) for number in range(STEPS + 1)]
    else:
        one = transcoders.trainer(architecture, kind == "skip")
        batches = [transcoders.batch(number) for number in range(STEPS + 1)]
    for each in batches[:-1]:
        one.step(each)
    one.measure(batches[-1])
    return one, batches[-1][:, : len(one.calibration.mean)]


def test_every_architecture_has_a_case() -> None:
    assert set(OWN) <= set(CLASSES)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What SAELens makes of every case, from one start of its python."""
    if not PEERS.exists():
        if os.environ.get("CI"):
            pytest.fail(f"there is no {PEERS}: run `make .venv-peers/.installed`, or set RAYLENS_PEERS_PYTHON")
        pytest.skip(f"there is no {PEERS}: run `make .venv-peers/.installed`, or set RAYLENS_PEERS_PYTHON")
    root = tmp_path_factory.mktemp("trained")
    jobs = []
    for number, name in enumerate(CLASSES):
        one, x = _trained(name)
        folder = root / str(number)
        metadata = {**METADATA, **({"hook_name_out": one.config.all_hooks()[-1]} if one.others else {})}
        write_sae(folder, one.config.architecture, one.export(), metadata, one.calibration, {}, *one.others)
        save_file({"x": x.contiguous()}, root / f"{number}.x")
        jobs.append({"sae": str(folder), "x": str(root / f"{number}.x"), "out": str(root / f"{number}.out")})
    (root / "jobs.json").write_text(json.dumps(jobs))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [str(PEERS), str(SCRIPT), str(root / "jobs.json")], capture_output=True, text=True, env=environment, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    reports = json.loads(ran.stdout.splitlines()[-1])
    return {name: {**report, **job} for name, report, job in zip(CLASSES, reports, jobs, strict=True)}


@pytest.mark.parametrize("name", CLASSES)
def test_saelens_computes_the_same(name: str, seen: dict[str, Any]) -> None:
    report = seen[name]
    ours, theirs, x = load_sae(Path(report["sae"])), load_file(report["out"]), load_file(report["x"])["x"]
    assert report["class"] == CLASSES[name]
    assert report["warnings"] == []
    encoded = ours.encode(x)
    assert torch.equal(encoded > 0, theirs["encode"] > 0)
    for own, other in ((encoded, theirs["encode"]), (ours.reconstruct(x), theirs["forward"])):
        torch.testing.assert_close(own, other, rtol=0, atol=TOLERANCE * float(other.square().mean().sqrt()))
