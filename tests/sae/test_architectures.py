"""All architectures train, resume, are written, loaded and measured; and a new one touches one line, one class and one new file.

The toy is a plain ReLU autoencoder with an L1 penalty: dense codes, a loss of its own, gradients by autograd. It is added to a
copy of the sources, trained, exported, loaded and evaluated there in a process of its own, and removed with that copy.
"""

from __future__ import annotations

import filecmp
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs.architectures import ARCHITECTURES, SaeConfig, TopKConfig, target_l0
from sae.architectures import Step, architecture_class
from sae.calibration import Calibration
from sae.formats.sae_folder import load_sae, write_sae
from sae.metrics.reconstruction import add_rows, explained_variance, l0, row_sums
from sae.training.sae_trainer import SaeTrainer

REPOSITORY = Path(__file__).resolve().parents[2]
D, STEPS = 16, 60
# A few settings of each, so that a short run on few dimensions has sparse codes.
OWN: dict[str, dict[str, object]] = {
    **{name: {"k": 4} for name in ("topk", "batchtopk", "hierarchicaltopk", "matryoshka", "matchingpursuit")},
    "standard": {"l1": 1.0}, "gated": {"l1": 1.0}, "jumprelu": {"target": 4.0},
}  # fmt: skip


def config_of(name: str, **settings: object) -> SaeConfig:
    """A small SAE of an architecture."""
    (cls,) = (one for one in ARCHITECTURES if one.model_fields["architecture"].annotation.__args__ == (name,))
    body = {"hook": "blocks.0.hook_resid_post", "architecture": name, "d_sae": 64, "lr": 5e-3, "lr_warmup": 5}
    return cls.model_validate({**body, "dead_after_tokens": 512, **OWN[name], **settings})


def trainer_of(config: SaeConfig) -> SaeTrainer:
    """Its trainer, on activations with mean 0.5."""
    return SaeTrainer(config, Calibration(config.hook, 1.0, 9.0, 0.7, torch.full((D,), 0.5), 1, 1, 0), STEPS)


def batch(seed: int, n: int = 128) -> torch.Tensor:
    """Sums of a few of 24 directions."""
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.randn(24, D, generator=torch.Generator().manual_seed(99))
    return (torch.rand(n, 24, generator=generator) * (torch.rand(n, 24, generator=generator) < 0.1)) @ atoms + 0.5


@pytest.mark.parametrize("name", OWN)
def test_an_sae_is_trained_resumed_written_loaded_and_measured(name: str, tmp_path: Path) -> None:
    whole, resumed = trainer_of(config_of(name)), trainer_of(config_of(name, seed=5))
    for number in range(STEPS):
        if number == 20:
            resumed.load_state({key: value.clone() for key, value in whole.state().items()})
        for trainer in (whole, resumed)[: 1 + (number >= 20)]:
            trainer.step(batch(number) if number != 7 else torch.empty(0, D))
    for trainer in (whole, resumed):
        trainer.measure(batch(STEPS))
    for (key, value), other in zip(whole.state().items(), resumed.state().values(), strict=True):
        assert torch.equal(value, other) or (key == "curve" and torch.equal(value.nan_to_num(), other.nan_to_num())), (
            key
        )
    curve = [point for point in whole.curve() if point.tokens]
    assert curve[-1].mse < 0.6 * curve[0].mse

    write_sae(tmp_path, name, whole.export(), {"hook_name": whole.config.hook}, whole.calibration, {})
    sae = load_sae(tmp_path)
    assert sae.architecture == name
    x = batch(STEPS, 200)
    codes = sae.encode_sparse(x)
    assert bool((codes.value > 0).all())
    made = sae.decode_sparse(codes)
    torch.testing.assert_close(sae.decode(sae.encode(x)), made, atol=1e-5, rtol=1e-4)
    total = add_rows(row_sums(x, made, codes, torch.ones(20, 10, dtype=torch.bool), torch.zeros(D)))
    assert (explained_variance(total) or 0) > 0.5
    assert 0 < (l0(total) or 0) < 16
    # What is written computes on raw activations what training ended with.
    with torch.no_grad():
        last = whole.architecture.gradients(
            x * whole.calibration.scale, Step(STEPS, STEPS, torch.empty(0, dtype=torch.int64))
        )
    error = float((made - x).double().square().sum()) * whole.calibration.scale**2
    assert error == pytest.approx(float(last.squared_error), rel=0.15 if name in ("batchtopk", "matryoshka") else 1e-4)


@pytest.mark.parametrize("name", OWN)
def test_threads_change_no_byte(name: str) -> None:
    before, states = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        trainer = trainer_of(config_of(name))
        for number in range(8):
            trainer.step(batch(number, 512))
        states.append(trainer.state())
    torch.set_num_threads(before)
    for (key, one), two in zip(states[0].items(), states[1].values(), strict=True):
        assert torch.equal(one, two), key


CONFIG = '''
from typing import Literal

from pydantic import Field

class ToyConfig(SaeConfig):
    """ReLU and an L1 penalty."""

    architecture: Literal["toy"] = Field(description="ReLU and an L1 penalty.")
    l1: float = Field(1e-3, ge=0, description="Weight of the penalty.")


ARCHITECTURES: tuple[type[SaeConfig], ...] = (
    ToyConfig,
'''

CODE = '''
"""A toy architecture."""

import torch

from sae import sparse
from sae.architectures import Export, Pass


class Toy:
    def __init__(self, config, calibration, device, autocast, *others):
        self.config, self.scale = config, calibration.scale
        generator = torch.Generator().manual_seed(config.seed)
        W = torch.randn(config.d_sae, len(calibration.mean), generator=generator) / 4
        start = {"W_enc": W.T.clone(), "b_enc": torch.zeros(config.d_sae), "W_dec": W, "b_dec": torch.zeros(W.shape[1])}
        self.parameters = {name: value.to(device).requires_grad_() for name, value in start.items()}

    def load(self, tensors):
        for name, value in self.parameters.items():
            value.data.copy_(tensors[name])

    def start(self, x):
        pass

    def gradients(self, x, step):
        p = self.parameters
        with torch.enable_grad():
            latents = (x @ p["W_enc"] + p["b_enc"]).relu()
            error = (latents @ p["W_dec"] + p["b_dec"] - x).square()
            penalty = (latents * p["W_dec"].norm(dim=1)).sum(1).mean()
            gradients = torch.autograd.grad(error.mean() + self.config.l1 * penalty, p.values())
        codes = sparse.above(latents.detach(), torch.zeros(self.config.d_sae))
        return Pass(codes, dict(zip(p, gradients)), error.detach().double().sum(), penalty.detach(), error.detach())

    def revive(self, dead, directions):
        pass

    def after_step(self):
        pass

    def measure(self, x):
        pass

    def export(self):
        tensors = {name: value.detach().cpu() for name, value in self.parameters.items()}
        folded = {"W_enc": tensors["W_enc"] * self.scale, "b_dec": tensors["b_dec"] / self.scale}
        tensors |= {**folded, "W_dec": tensors["W_dec"] / self.scale}
        return Export(tensors, {"architecture": "standard", "apply_b_dec_to_input": False})

    @staticmethod
    def encode(tensors, config, x):
        return sparse.above(x @ tensors["W_enc"] + tensors["b_enc"], torch.zeros(len(tensors["b_enc"])))


ARCHITECTURE = Toy
'''

RUN = """
import json, sys
import torch
from configs.train import TrainConfig
from sae.calibration import Calibration
from sae.formats.sae_folder import load_sae, write_sae
from sae.metrics.reconstruction import add_rows, explained_variance, l0, row_sums
from sae.training.sae_trainer import SaeTrainer
from pathlib import Path

torch.set_num_threads(1)
ids = {"model": "models/" + "0" * 16, "tokens": "tokens/" + "0" * 16}
sae = {"hook": "blocks.0.hook_resid_post", "architecture": "toy", "d_sae": 32, "lr": 0.02}
(config,) = TrainConfig.model_validate({**ids, "saes": [sae]}).saes
x = torch.randn(200, 4, generator=torch.Generator().manual_seed(1)) @ torch.randn(4, 8) * 3
calibration = Calibration(config.hook, 1.0, 9.0, 0.4, torch.zeros(8), 1, 1, 0)
trainer = SaeTrainer(config, calibration, total_steps=200)
for _ in range(200):
    trainer.step(x)
trainer.measure(x)
folder = Path(sys.argv[1])
write_sae(folder, config.architecture, trainer.export(), {"hook_name": config.hook}, calibration, {})
loaded = load_sae(folder)
codes = loaded.encode_sparse(x)
total = add_rows(row_sums(x, loaded.decode_sparse(codes), codes, torch.ones(20, 10, dtype=torch.bool), torch.zeros(8)))
print(json.dumps({"architecture": loaded.architecture, "label": config.label, "ev": explained_variance(total),
    "l0": l0(total), "curve": [trainer.curve()[0].mse, trainer.curve()[-1].mse]}))
"""


def test_a_new_architecture_touches_two_files(tmp_path: Path) -> None:
    for package in ("configs", "sae"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    configs = tmp_path / "configs" / "architectures" / "__init__.py"
    source = configs.read_text()
    registry = "\n\nARCHITECTURES: tuple[type[SaeConfig], ...] = (\n"
    assert registry in source
    configs.write_text(source.replace(registry, CONFIG))
    (tmp_path / "sae" / "architectures" / "toy.py").write_text(CODE)

    ran = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "folder")], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    seen = json.loads(ran.stdout)
    assert seen["architecture"] == "toy"
    assert seen["label"] == "toy 32 at blocks.0.hook_resid_post"
    assert seen["ev"] > 0.95
    assert 0 < seen["l0"] < 32
    assert seen["curve"][1] < 0.2 * seen["curve"][0]
    assert json.loads((tmp_path / "folder" / "cfg.json").read_text())["architecture"] == "standard"
    changed = [
        path
        for path in (*tmp_path.glob("configs/**/*.py"), *tmp_path.glob("sae/**/*.py"))
        if not (original := REPOSITORY / path.relative_to(tmp_path)).exists()
        or not filecmp.cmp(path, original, shallow=False)
    ]
    assert len(changed) == 2


def test_an_architecture_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="no SAE architecture 'vanilla'; the architectures are topk, batchtopk"):
        architecture_class("vanilla")


def test_the_l0_that_is_shown_is_one_that_training_aimed_at() -> None:
    config = TopKConfig(hook="blocks.0.hook_resid_post", d_sae=64, k=4)
    assert config.target_l0 == config.planned_l0 == 4
    aimless = SaeConfig(architecture="standard", hook="blocks.0.hook_resid_post", d_sae=64)
    assert aimless.target_l0 is None
    assert aimless.planned_l0 == 6.4
    assert target_l0({"k": 4}) == target_l0({"metadata": {"raylens": {"target_l0": 4}}}) == 4
    assert target_l0({"metadata": {"raylens": {"target_l0": None}}}) is None
