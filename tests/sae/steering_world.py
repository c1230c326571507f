"""A real small model with random SAEs at two hooks, a prompt, and changes of features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from configs.steering import Intervention
from sae.calibration import Calibration
from sae.formats.sae_folder import Sae
from sae.language_model import LanguageModel
from sae.steering.decoding import Prompt

WIDTH, K = 64, 6
EARLY, LATE = "saes/" + "a" * 16, "saes/" + "b" * 16
HOOKS = {EARLY: "blocks.0.hook_resid_post", LATE: "blocks.1.hook_mlp_out"}


@pytest.fixture(scope="module")
def lm(tiny_gpt2: Path) -> LanguageModel:
    return LanguageModel.load(tiny_gpt2)


@pytest.fixture(scope="module")
def saes(lm: LanguageModel) -> dict[str, Sae]:
    return {id: random_sae(hook, lm.hook(hook).d, seed) for seed, (id, hook) in enumerate(HOOKS.items())}


def random_sae(hook: str, d: int, seed: int, k: int = K) -> Sae:
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(WIDTH, d, generator=generator), dim=1)
    tensors = {"W_enc": W_dec.T.contiguous(), "b_enc": torch.zeros(WIDTH), "W_dec": W_dec, "b_dec": torch.zeros(d)}
    config: dict[str, Any] = {
        "architecture": "topk", "k": k, "metadata": {"hook_name": hook, "raylens": {"architecture": "topk"}},
    }  # fmt: skip
    return Sae(tensors, config, Calibration(hook, 1.0, 9.0, 1.0, torch.zeros(d), 1, 1, 0))


def never(ids: Sequence[int]) -> bool:
    """No token ends the answer."""
    return False


IDS = torch.randint(5, 400, (1, 12), generator=torch.Generator().manual_seed(1))
PROMPT = Prompt(IDS[0].tolist(), [True, *([False] * 11)])


def intervention(op: str = "add", latent: int = 3, sae: str = EARLY, **fields: Any) -> Intervention:
    return Intervention.model_validate({"sae": sae, "latent": latent, "op": op, **fields})


def activations(lm: LanguageModel, sae: Sae) -> Tensor:
    hook = lm.hook(sae.metadata["hook_name"])
    return sae.encode(lm.run_to(IDS, [hook])[hook.name][0])
