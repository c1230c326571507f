"""Measures one SAE on a few rows of tokens: runs the language model, and returns sums that add up over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from configs.data_positions import DataPolicy
from configs.tokenize import Attention, Side
from sae.calibration import check_finite, count_excluded, data_mask
from sae.formats.sae_folder import Sae
from sae.formats.tokens import TokenRows
from sae.language_model import HookPoint, LanguageModel
from sae.language_model.resumed_forward import ResumedForward, logits_of
from sae.metrics.loss import RowLosses, row_losses
from sae.metrics.positions import count_unscored, scored_positions
from sae.metrics.reconstruction import Counts, RowSums, latent_counts, row_sums


class RowResults(NamedTuple):
    """What some rows add. `counts` int64 [d_sae]: positions at which each latent is active. `losses`: of loss rows."""

    sums: RowSums
    counts: Counts
    excluded: dict[str, int]
    losses: RowLosses | None
    unscored: dict[str, int]


class Batch(NamedTuple):
    """Rows of one forward pass. The first `loss_rows` of them are also measured for CE and KL."""

    first_row: int
    rows: TokenRows
    loss_rows: int


@torch.inference_mode()
def evaluate_batch(
    lm: LanguageModel,
    hook: HookPoint,
    sae: Sae,
    batch: Batch,
    policy: DataPolicy,
    attention: Attention,
    padding_side: Side = "right",
) -> RowResults:
    """Sums of one batch. Raises NonFiniteActivations naming hook, row and position if an activation is not finite."""
    ids = torch.from_numpy(batch.rows.input_ids.astype(np.int64)).to(lm.device)
    groups = batch.rows.attention_groups(attention, padding_side)
    resumed = ResumedForward(lm, ids, hook, None if groups is None else torch.from_numpy(groups).to(lm.device))
    x = resumed.activations.float()
    norms = x.norm(dim=-1)
    check_finite(norms, hook.name, batch.first_row)
    roles = torch.from_numpy(batch.rows.roles).to(lm.device)
    mask = data_mask(roles, norms, sae.calibration, policy)
    data = x[mask]
    codes = sae.encode_sparse(data)
    made = sae.decode_sparse(codes)
    losses, unscored = _losses(lm, resumed, sae, made, mask, ids, batch, attention) if batch.loss_rows else (None, {})
    return RowResults(
        row_sums(data, made, codes, mask, sae.calibration.mean.to(lm.device)),
        latent_counts(codes, sae.d_sae),
        count_excluded(roles, norms, sae.calibration, policy),
        losses,
        unscored,
    )


def join(parts: Sequence[RowResults]) -> RowResults:
    """The results of consecutive batches as those of one."""
    losses = [part.losses for part in parts if part.losses is not None]
    return RowResults(
        RowSums(*(np.concatenate(columns) for columns in zip(*(part.sums for part in parts), strict=True))),
        np.sum([part.counts for part in parts], axis=0),
        add_counts(part.excluded for part in parts),
        RowLosses(*(np.concatenate(columns) for columns in zip(*losses, strict=True))) if losses else None,
        add_counts(part.unscored for part in parts),
    )


def add_counts(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Adds counts by reason."""
    total = Counter[str]()
    for part in parts:
        total.update(part)
    return dict(total)


def _losses(
    lm: LanguageModel,
    resumed: ResumedForward,
    sae: Sae,
    made: torch.Tensor,
    mask: torch.Tensor,
    ids: torch.Tensor,
    batch: Batch,
    attention: Attention,
) -> tuple[RowLosses, dict[str, int]]:
    """CE and KL of the batch's loss rows; `made` holds the reconstructions at all data positions of the batch."""
    n = batch.loss_rows
    mask, ids, clean = mask[:n], ids[:n], resumed.activations[:n]
    made = made[: int(mask.sum())]
    known, document = mask.cpu().numpy(), batch.rows.document[:n]
    scored = torch.from_numpy(scored_positions(known, document, attention)).to(ids.device)
    mean = sae.calibration.mean.to(made).expand_as(made)
    values = (clean, *(_replace(clean, mask, new) for new in (made, torch.zeros_like(made), mean)))
    states = [resumed.final_states(value, scored) for value in values]
    targets = torch.roll(ids, -1, dims=1)[scored]  # the last column is never scored
    losses = row_losses(states, lambda s: logits_of(lm, s), targets, scored)
    return losses, count_unscored(known, document, attention)


def _replace(x: torch.Tensor, mask: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    out = x.clone()
    out[mask] = new.to(x.dtype)
    return out
