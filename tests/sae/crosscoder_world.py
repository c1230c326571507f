"""Crosscoders of three hooks: of made-up activations, and one that was trained on a tiny model beside an SAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from configs.data_positions import DataPolicy
from configs.train import TrainConfig
from sae.calibration import Calibration
from sae.formats.artifact_files import LocalFiles
from sae.formats.sae_folder import Sae, load_sae, write_sae
from sae.formats.tokens import TokenRows, TokensReader
from sae.language_model import LanguageModel
from sae.training.build import build_run
from sae.training.collectives import LocalCollective
from sae.training.loop import AfterBlock, train
from sae.training.sae_trainer import SaeTrainer
from tests.artifacts import write_tokens

HOOKS = ["blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out", "blocks.1.hook_resid_post"]
IDS = {"model": "models/" + "0" * 16, "tokens": "tokens/" + "0" * 16}
WIDTHS, SCALES, STEPS = (6, 9, 5), (0.7, 1.6, 0.05), 60
POLICY = DataPolicy(calibration_rows=8)
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"k": 4} for name in ("topk", "batchtopk", "hierarchicaltopk", "matryoshka")},
    "standard": {"l1": 0.5, "decoder_norm": "free"}, "gated": {"l1": 0.5}, "jumprelu": {"target": 4.0},
}  # fmt: skip


def trainer(name: str, **more: Any) -> SaeTrainer:
    """A crosscoder of three hooks with other widths, scales and means."""
    sae = {"hooks": HOOKS, "d_sae": 48, "lr": 0.01, "lr_warmup": 0, "architecture": name, **KINDS[name], **more}
    (config,) = TrainConfig.model_validate({**IDS, "saes": [sae]}).saes
    parts = zip(HOOKS, SCALES, WIDTHS, strict=True)
    first, *others = (Calibration(hook, 1.0, 9.0, s, torch.full((d,), 0.3 / s), 1, 1, 0) for hook, s, d in parts)
    return SaeTrainer(config, first, STEPS, others=others)


def batch(seed: int, n: int = 128) -> Tensor:
    """Sums of a few of 24 directions through all hooks; the activations of each hook have a length of their own."""
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.randn(24, sum(WIDTHS), generator=torch.Generator().manual_seed(99))
    sums = (torch.rand(n, 24, generator=generator) * (torch.rand(n, 24, generator=generator) < 0.1)) @ atoms + 0.3
    return torch.cat([part / scale for part, scale in zip(sums.split(WIDTHS, 1), SCALES, strict=True)], dim=1)


def written(one: SaeTrainer, folder: Path) -> Sae:
    """Its folder, as the training worker writes it, and read again."""
    metadata = {"hook_name": one.config.place, "hook_names": list(one.config.all_hooks())}
    files = write_sae(folder, one.config.architecture, one.export(), metadata, one.calibration, {}, *one.others)
    assert set(files) == {path.name for path in folder.iterdir()}
    return load_sae(folder)


class World:
    """A crosscoder that was trained on the tiny model beside an SAE, on one pass, and what both were trained on."""

    def __init__(self, gpt2: Path, folder: Path) -> None:
        self.model = gpt2
        (folder / "tokens").mkdir()
        write_tokens(folder / "tokens", gpt2, {"train": 24})
        self.files = LocalFiles(folder / "tokens")
        run = build_run(self.config(), [0, 1], LocalFiles(gpt2), self.files, None, LocalCollective(), "cpu")
        assert run.hooks == (tuple(HOOKS), (HOOKS[2],))
        train(run, LocalCollective(), 0, lambda _: None, lambda _: AfterBlock(False, False), lambda _: None)
        self.sae = written(run.trainers[0], folder / "sae")
        self.alone = written_alone(run.trainers[1], folder / "alone")
        self.lm, self.tokens = LanguageModel.load(gpt2), TokensReader(self.files, "train")

    def config(self, **first: Any) -> TrainConfig:
        both = {"d_sae": 96, "k": 8, "lr": 0.01}
        return TrainConfig.model_validate(
            {
                **IDS, "saes": [{"hooks": HOOKS, **both, **first}, {"hook": HOOKS[2], **both}], "lm_dtype": "fp32",
                "autocast": "off", "epochs": 8, "batch_rows": 4, "block_steps": 6, "policy": POLICY.model_dump(),
            }
        )  # fmt: skip

    def activations(self, rows: TokenRows) -> list[Tensor]:
        found = self.lm.run_to(torch.from_numpy(rows.input_ids).long(), [self.lm.hook(hook) for hook in HOOKS])
        return [found[hook] for hook in HOOKS]


def written_alone(one: SaeTrainer, folder: Path) -> Sae:
    write_sae(folder, "topk", one.export(), {"hook_name": one.config.hook}, one.calibration, {})
    return load_sae(folder)


@pytest.fixture(scope="module")
def world(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tiny_gpt2, tmp_path_factory.mktemp("crosscoder"))
