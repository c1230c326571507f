"""Measures crosscoders on a few rows of tokens: in all, at each hook, and with all hooks replaced at once.

Figures in all are of scaled activations side by side, as the loss is: every hook counts alike, however long its activations are.
CE and KL have reconstructions at all hooks of one pass, and ablations likewise. Where hooks are of the residual stream, what is
at the last one decides, since all that comes after is computed from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from configs.data_positions import DataPolicy
from configs.tokenize import Attention, Side
from sae.calibration import check_finite, count_excluded, data_mask
from sae.formats.sae_folder import Sae
from sae.joint_hooks import scale_row
from sae.language_model import HookPoint, LanguageModel
from sae.language_model.resumed_forward import ResumedForward, first_hook
from sae.metrics.batch_evaluation import Batch, RowResults, measure_losses, replaced
from sae.metrics.pieces import piece_sums
from sae.metrics.reconstruction import (
    HookSums,
    latent_counts,
    position_values,
    segment_sums,
    sums_of_rows,
)


@torch.inference_mode()
def evaluate_crosscoders(
    lm: LanguageModel,
    saes: Sequence[Sae],
    batch: Batch,
    policy: DataPolicy,
    attention: Attention,
    padding_side: Side = "right",
) -> list[RowResults]:
    """Sums of one batch for crosscoders of the same hooks and calibrations; each as it would be measured alone.

    Raises NonFiniteActivations naming hook, row and position if an activation is not finite.
    """
    first = saes[0]
    ids = torch.from_numpy(batch.rows.input_ids.astype(np.int64)).to(lm.device)
    groups = batch.rows.attention_groups(attention, padding_side)
    document = None if groups is None else torch.from_numpy(groups).to(lm.device)
    hooks = [lm.hook(name) for name in first.hooks]
    values = lm.run_to(ids, hooks, document)
    acts = [values[hook.name].float() for hook in hooks]
    mask, excluded = _data(first, acts, torch.from_numpy(batch.rows.roles).to(lm.device), policy, batch.first_row)
    read, known = torch.cat(acts, dim=2)[mask], mask.cpu().numpy()
    scales = scale_row(first.calibrations).to(lm.device)
    target, reference = read * scales, first.calibration.mean.to(lm.device)
    codes = [sae.encode_sparse(read) for sae in saes]
    made = [sae.decode_sparse(one) for sae, one in zip(saes, codes, strict=True)]
    losses = None
    if batch.loss_rows:
        states = _states(lm, ids, document, hooks, [values[hook.name] for hook in hooks], mask, batch.loss_rows)
        losses = measure_losses(lm, states, made, mask, ids, batch, attention, reference / scales)
    found = []
    for number, sae in enumerate(saes):
        scaled = made[number] * scales
        figures = position_values(target, scaled, codes[number], reference)
        found.append(
            RowResults(
                sums_of_rows(figures, target, mask, reference),
                latent_counts(codes[number], sae.d_sae),
                excluded,
                None if losses is None else losses.of_rows(number),
                {} if losses is None else losses.unscored,
                piece_sums(figures, known, batch.rows.document),
                None if losses is None else losses.of_pieces(number),
                hooks=_hook_sums(target, scaled, reference, mask, sae.widths),
            )
        )
    return found


def _data(
    sae: Sae, acts: Sequence[Tensor], roles: Tensor, policy: DataPolicy, first_row: int
) -> tuple[Tensor, dict[str, int]]:
    """Positions [n, L] that are data at each hook, and how many are not, by reason."""
    masks = []
    for hook, x, calibration in zip(sae.hooks, acts, sae.calibrations, strict=True):
        check_finite(x.norm(dim=-1), hook, first_row)
        masks.append(data_mask(roles, x.norm(dim=-1), calibration, policy))
    mask = torch.stack(masks).all(0)
    excluded = count_excluded(roles, acts[0].norm(dim=-1), sae.calibrations[0], policy)
    excluded["sink"] += int((masks[0] & ~mask).sum())
    return mask, excluded


def _states(
    lm: LanguageModel,
    ids: Tensor,
    document: Tensor | None,
    hooks: Sequence[HookPoint],
    values: Sequence[Tensor],
    mask: Tensor,
    rows: int,
) -> Callable[[Tensor | None, Tensor], Tensor]:
    """What measure_losses wants: the last states with all hooks replaced at the data positions of the first `rows` rows."""
    start = first_hook(hooks)
    resumed = ResumedForward(lm, ids, hooks[start], document)
    clean = [value[:rows] for value in values]
    widths = [value.shape[-1] for value in values]

    def states(new: Tensor | None, keep: Tensor) -> Tensor:
        if new is None:
            return resumed.final_states(clean[start], keep)
        parts = torch.split(new, widths, dim=1)
        whole = [replaced(own, mask[:rows], part) for own, part in zip(clean, parts, strict=True)]
        return resumed.final_states(
            whole[start], keep, [(hook, whole[i]) for i, hook in enumerate(hooks) if i != start]
        )

    return states


def _hook_sums(x: Tensor, made: Tensor, reference: Tensor, mask: Tensor, widths: Sequence[int]) -> HookSums:
    """The sums of rows at each hook, from scaled activations and reconstructions [m, d + d2 ...] at data positions."""
    lengths = mask.sum(dim=1).cpu().numpy()
    square, error = (x.double() - reference.double()).square(), (x.double() - made.double()).square()
    columns = [part.sum(1) for whole in (square, error) for part in torch.split(whole, list(widths), dim=1)]
    sums = segment_sums(torch.stack(columns, dim=1).cpu().numpy(), lengths)
    return HookSums(sums[:, : len(widths)], sums[:, len(widths) :], np.tile(np.array(widths), (len(lengths), 1)))
