"""SAE folders that RayLens writes load in the real SAELens and compute the same there.

SAELens lives in an environment of its own, made by `make .venv-peers/.installed`; RAYLENS_PEERS_PYTHON names its python (default
`.venv-peers/bin/python`). Skipped only where that is missing, and never in CI.

Tolerance: both libraries compute in fp32 with differently ordered sums. Encodings and reconstructions must agree to
1e-5 of their own root mean square, and which latents are active must agree exactly.
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
from torch.nn.functional import normalize

from sae.architectures import Export
from sae.architectures.shallow_base import fold
from sae.calibration import Calibration
from sae.formats.sae_folder import Sae, load_sae, write_sae

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("RAYLENS_PEERS_PYTHON", REPOSITORY / ".venv-peers" / "bin" / "python"))
SCRIPT = Path(__file__).with_name("load_in_saelens.py")
TOLERANCE = 1e-5

D_IN, D_SAE, N = 48, 192, 200
METADATA = {
    "model_name": "tiny",
    "model_class_name": "AutoModelForCausalLM",
    "hook_name": "blocks.1.hook_resid_post",
    "hf_hook_name": "transformer.h.1",
    "hook_head_index": None,
    "context_size": 64,
    "prepend_bos": False,
    "dataset_path": "datasets/0123456789abcdef",
    "seqpos_slice": [None],
    "model_from_pretrained_kwargs": {},
    "exclude_special_tokens": True,
}


def _tensors(threshold: float | None, seed: int) -> dict[str, torch.Tensor]:
    """Tensors as a trainer leaves them: unit decoder rows, non-zero biases, on inputs of unit mean square."""
    g = torch.Generator().manual_seed(seed)
    W_dec = normalize(torch.randn(D_SAE, D_IN, generator=g), dim=1)
    W_enc = W_dec.T + 0.02 * torch.randn(D_IN, D_SAE, generator=g)
    b_enc, b_dec = 0.1 * torch.randn(D_SAE, generator=g), 0.3 * torch.randn(D_IN, generator=g)
    made = {} if threshold is None else {"threshold": torch.full((D_SAE,), threshold)}
    return {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec, **made}


CASES: dict[str, tuple[dict[str, Any], float | None, float]] = {
    "topk": ({"architecture": "topk", "k": 8, "rescale_acts_by_decoder_norm": False}, None, 0.037),
    "topk-unit-scale": ({"architecture": "topk", "k": 8, "rescale_acts_by_decoder_norm": False}, None, 1.0),
    "batchtopk": ({"architecture": "jumprelu"}, 1.3, 0.037),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What SAELens makes of every case, from one start of its python."""
    if not PEERS.exists():
        if os.environ.get("CI"):
            pytest.fail(f"there is no {PEERS}: run `make .venv-peers/.installed`, or set RAYLENS_PEERS_PYTHON")
        pytest.skip(f"there is no {PEERS}: run `make .venv-peers/.installed`, or set RAYLENS_PEERS_PYTHON")
    root = tmp_path_factory.mktemp("saelens")
    jobs = []
    for seed, (name, (architecture, threshold, scale)) in enumerate(CASES.items()):
        calibration = Calibration(METADATA["hook_name"], 5.0, 15.0, scale, torch.zeros(D_IN), 4, 200, 4)
        export = Export(fold(_tensors(threshold, seed), scale), {"apply_b_dec_to_input": True, **architecture})
        write_sae(root / name, name.split("-")[0], export, METADATA, calibration, {})
        x = torch.randn(N, D_IN, generator=torch.Generator().manual_seed(seed)) / scale
        save_file({"x": x}, root / f"{name}.x")
        jobs.append({"sae": str(root / name), "x": str(root / f"{name}.x"), "out": str(root / f"{name}.out")})
    (root / "jobs.json").write_text(json.dumps(jobs))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [str(PEERS), str(SCRIPT), str(root / "jobs.json")], capture_output=True, text=True, env=environment, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    reports = json.loads(ran.stdout.splitlines()[-1])
    return {name: {**report, "root": root} for name, report in zip(CASES, reports, strict=True)}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, seen: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return request.param, seen[request.param]


def _close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    rms = float(theirs.square().mean().sqrt())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE * rms)


def test_encode_and_forward_are_the_same_on_raw_activations(case: tuple[str, dict[str, Any]]) -> None:
    name, report = case
    root: Path = report["root"]
    ours, theirs, x = load_sae(root / name), load_file(root / f"{name}.out"), load_file(root / f"{name}.x")["x"]
    encoded = ours.encode(x)
    assert torch.equal(encoded > 0, theirs["encode"] > 0)
    _close(encoded, theirs["encode"])
    _close(ours.reconstruct(x), theirs["forward"])
    _close(ours.decode(encoded), theirs["forward"])


def test_folding_changes_nothing_but_the_units(case: tuple[str, dict[str, Any]]) -> None:
    """The folder on raw x gives what the trained weights give on scale * x, divided by scale."""
    name, report = case
    root: Path = report["root"]
    architecture, threshold, scale = CASES[name]
    folded = load_sae(root / name)
    config = {**architecture, "metadata": folded.metadata}
    trained = Sae(_tensors(threshold, list(CASES).index(name)), config, folded.calibration)
    x = load_file(root / f"{name}.x")["x"]
    _close(folded.reconstruct(x), trained.reconstruct(x * scale) / scale)
    assert torch.equal(folded.encode(x) > 0, trained.encode(x * scale) > 0)


def test_saelens_sees_our_config_and_metadata(case: tuple[str, dict[str, Any]]) -> None:
    name, report = case
    architecture = CASES[name][0]
    config = report["config"]
    assert report["class"] == {"topk": "TopKSAE", "jumprelu": "JumpReLUSAE"}[architecture["architecture"]]
    assert {k: config[k] for k in architecture} == architecture
    assert (config["d_in"], config["d_sae"], config["dtype"]) == (D_IN, D_SAE, "float32")
    assert config["apply_b_dec_to_input"] is True
    assert config["normalize_activations"] == "none"
    assert report["metadata"]["hook_name"] == "blocks.1.hook_resid_post"
    assert {k: report["metadata"][k] for k in METADATA} == METADATA
    # Below 6.0.0, or without it, SAELens rewrites the config as if it were an old one.
    assert int(report["metadata"]["sae_lens_version"].split(".")[0]) >= 6
    assert report["warnings"] == []


def test_codes_are_not_trivial(case: tuple[str, dict[str, Any]]) -> None:
    name, report = case
    encoded = load_file(report["root"] / f"{name}.out")["encode"]
    per_position = (encoded > 0).sum(1).float()
    assert 2 < float(per_position.mean()) < D_SAE / 4
