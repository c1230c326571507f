"""Which features fire on one short text: the same model pass, mask and rounding as an extraction's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from configs.data_positions import DataPolicy
from sae.calibration import candidate_mask, check_finite, data_mask
from sae.formats.activations import DTYPES
from sae.formats.sae_folder import Sae
from sae.formats.tokens import Role
from sae.language_model import LanguageModel


class TokenActivations(NamedTuple):
    """Per token: why it is no data (None: it is), how many features are active, and the largest, the largest first."""

    left_out: str | None
    active: int
    top: list[tuple[int, float]]


class TextActivations(NamedTuple):
    """`tokens` in order; `top`: (feature, max, its position, active tokens) over data positions; `wanted` by feature."""

    tokens: list[TokenActivations]
    top: list[tuple[int, float, int, int]]
    wanted: dict[int, list[float]]


@torch.inference_mode()
def activations_on_text(
    lm: LanguageModel,
    sae: Sae,
    ids: Sequence[int],
    roles: Sequence[int],
    policy: DataPolicy,
    dtype: str,
    top: int,
    wanted: Sequence[int] = (),
) -> TextActivations:
    """Runs one row. `dtype` is that of the activations that the SAE was trained on: they are rounded to it.

    Raises ValueError for a feature that the SAE has not, ModelError for a row that the model cannot take.
    """
    if absent := [feature for feature in wanted if feature >= sae.d_sae]:
        raise ValueError(f"there is no feature {absent[0]}: they are 0 to {sae.d_sae - 1}")
    latents, mask = _latents(lm, sae, ids, roles, policy, dtype)
    candidates = candidate_mask(torch.tensor([list(roles)], dtype=torch.uint8), policy)[0].tolist()
    tokens = [
        _firing(row, None if data else ("sink" if candidate else Role(role).name.lower()), top)
        for row, data, candidate, role in zip(latents.cpu(), mask.tolist(), candidates, roles, strict=True)
    ]
    return TextActivations(tokens, _over_text(latents.cpu(), top), {f: latents[:, f].tolist() for f in wanted})


@torch.inference_mode()
def largest_on_texts(
    lm: LanguageModel,
    sae: Sae,
    texts: Sequence[tuple[Sequence[int], Sequence[int]]],
    policy: DataPolicy,
    dtype: str,
) -> npt.NDArray[np.float32]:
    """The largest activation of each feature on each text [n, d_sae], over data positions; a text is its ids and roles."""
    found = [_latents(lm, sae, ids, roles, policy, dtype)[0].amax(0).cpu() for ids, roles in texts]
    made: npt.NDArray[np.float32] = torch.stack(found).numpy()
    return made


def _latents(
    lm: LanguageModel, sae: Sae, ids: Sequence[int], roles: Sequence[int], policy: DataPolicy, dtype: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of one row [L, d_sae], 0 where the position is no data, and which positions are data [L]."""
    hooks = [lm.hook(name) for name in sae.hooks]
    found = lm.run_to(torch.tensor([list(ids)]), hooks)
    values = torch.cat([found[hook.name].float() for hook in hooks], dim=2)
    row_roles = torch.tensor([list(roles)], dtype=torch.uint8, device=values.device)
    mask = torch.ones(len(ids), dtype=torch.bool, device=values.device)
    for hook, calibration in zip(hooks, sae.calibrations, strict=False):
        norms = found[hook.name].float().norm(dim=-1)
        check_finite(norms, hook.name, 0)
        mask &= data_mask(row_roles, norms, calibration, policy)[0]
    acts = values[0][mask]
    if dtype != "fp32":
        acts = acts.to(DTYPES[dtype]).float()
    latents = torch.zeros(len(ids), sae.d_sae, device=values.device)
    latents[mask] = sae.encode(acts)
    return latents, mask


def _firing(latents: torch.Tensor, left_out: str | None, top: int) -> TokenActivations:
    active = int((latents > 0).sum())
    value, feature = latents.topk(min(top, len(latents)))
    pairs = [(f, v) for f, v in zip(feature.tolist(), value.tolist(), strict=True) if v > 0]
    return TokenActivations(left_out, active, pairs)


def _over_text(latents: torch.Tensor, top: int) -> list[tuple[int, float, int, int]]:
    largest, at = latents.max(dim=0)
    value, feature = largest.topk(min(top, len(largest)))
    counts = (latents > 0).sum(dim=0)
    return [(f, v, int(at[f]), int(counts[f])) for f, v in zip(feature.tolist(), value.tolist(), strict=True) if v > 0]
