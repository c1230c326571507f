"""A new SAE architecture touches one line and one class of configs/architectures.py, and one new file.

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

from configs.architectures import SaeConfig, TopKConfig, target_l0
from sae.architectures import architecture_class

REPOSITORY = Path(__file__).resolve().parents[2]

CONFIG = '''

class ToyConfig(SaeConfig):
    """ReLU and an L1 penalty."""

    architecture: Literal["toy"] = Field(description="ReLU and an L1 penalty.")
    l1: float = Field(1e-3, ge=0, description="Weight of the penalty.")


ARCHITECTURES: tuple[type[SaeConfig], ...] = (ToyConfig, '''

CODE = '''
"""A toy architecture."""

import torch

from sae import sparse
from sae.architectures import Export, Pass


class Toy:
    def __init__(self, config, calibration, device, autocast):
        self.config, self.scale = config, calibration.scale
        generator = torch.Generator().manual_seed(config.seed)
        W = torch.randn(config.d_sae, len(calibration.mean), generator=generator) / 4
        start = {"W_enc": W.T.clone(), "b_enc": torch.zeros(config.d_sae), "W_dec": W, "b_dec": torch.zeros(W.shape[1])}
        self.parameters = {name: value.to(device).requires_grad_() for name, value in start.items()}

    def gradients(self, x, dead):
        p = self.parameters
        with torch.enable_grad():
            latents = (x @ p["W_enc"] + p["b_enc"]).relu()
            error = (latents @ p["W_dec"] + p["b_dec"] - x).square()
            penalty = (latents * p["W_dec"].norm(dim=1)).sum(1).mean()
            gradients = torch.autograd.grad(error.mean() + self.config.l1 * penalty, p.values())
        codes = sparse.above(latents.detach(), torch.zeros(self.config.d_sae))
        return Pass(codes, dict(zip(p, gradients)), error.detach().double().sum(), penalty.detach())

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
    configs = tmp_path / "configs" / "architectures.py"
    source = configs.read_text()
    registry = "\n\nARCHITECTURES: tuple[type[SaeConfig], ...] = ("
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
    with pytest.raises(ValueError, match="no SAE architecture 'gated'; the architectures are topk, batchtopk"):
        architecture_class("gated")


def test_the_l0_that_is_shown_is_one_that_training_aimed_at() -> None:
    config = TopKConfig(hook="blocks.0.hook_resid_post", d_sae=64, k=4)
    assert config.target_l0 == config.planned_l0 == 4
    aimless = SaeConfig(architecture="standard", hook="blocks.0.hook_resid_post", d_sae=64)
    assert aimless.target_l0 is None
    assert aimless.planned_l0 == 6.4
    assert target_l0({"k": 4}) == target_l0({"metadata": {"raylens": {"target_l0": 4}}}) == 4
    assert target_l0({"metadata": {"raylens": {"target_l0": None}}}) is None
