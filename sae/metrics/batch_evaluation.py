"""Measures SAEs of one hook on a few rows of tokens: runs the language model once, and returns sums that add up over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.data_positions import DataPolicy
from configs.tokenize import Attention, Side
from sae.calibration import check_finite, count_excluded, data_mask
from sae.formats.sae_folder import Sae
from sae.formats.tokens import TokenRows
from sae.language_model import HookPoint, LanguageModel
from sae.language_model.resumed_forward import ResumedForward, logits_of
from sae.metrics.loss import RowLosses, losses_of_rows, position_losses
from sae.metrics.pieces import Pieces, join_pieces, piece_sums
from sae.metrics.planted import PlantedCounts
from sae.metrics.positions import count_unscored, scored_positions
from sae.metrics.reconstruction import Counts, HookSums, RowSums, latent_counts, position_values, sums_of_rows


class RowResults(NamedTuple):
    """What some rows add for one SAE. `counts` int64 [d_sae]: positions at which each latent is active.

    `losses`: of loss rows. `pieces`, `loss_pieces`: the same by document; their sums are reconstruction.VALUES, and CE and KL
    of the four variants. `planted`: where the true features are known. `hooks`: of a crosscoder.
    """

    sums: RowSums
    counts: Counts
    excluded: dict[str, int]
    losses: RowLosses | None
    unscored: dict[str, int]
    pieces: Pieces
    loss_pieces: Pieces | None = None
    planted: PlantedCounts | None = None
    hooks: HookSums | None = None


class Batch(NamedTuple):
    """Rows of one forward pass. The first `loss_rows` of them are also measured for CE and KL."""

    first_row: int
    rows: TokenRows
    loss_rows: int


def evaluate_batch(
    lm: LanguageModel,
    hook: HookPoint,
    sae: Sae,
    batch: Batch,
    policy: DataPolicy,
    attention: Attention,
    padding_side: Side = "right",
) -> RowResults:
    """Sums of one batch for one SAE: see evaluate_saes."""
    return evaluate_saes(lm, hook, [sae], batch, policy, attention, padding_side)[0]


@torch.inference_mode()
def evaluate_saes(
    lm: LanguageModel,
    hook: HookPoint,
    saes: Sequence[Sae],
    batch: Batch,
    policy: DataPolicy,
    attention: Attention,
    padding_side: Side = "right",
) -> list[RowResults]:
    """Sums of one batch for SAEs of one hook and one calibration; each as it would be measured alone.

    `hook` is where reconstructions replace activations: of transcoders the target hook, and what they read is computed by a
    pass of its own. Raises NonFiniteActivations naming hook, row and position if an activation is not finite.
    """
    ids = torch.from_numpy(batch.rows.input_ids.astype(np.int64)).to(lm.device)
    groups = batch.rows.attention_groups(attention, padding_side)
    resumed = ResumedForward(lm, ids, hook, None if groups is None else torch.from_numpy(groups).to(lm.device))
    target, calibration = resumed.activations.float(), saes[0].target_calibration
    norms = target.norm(dim=-1)
    check_finite(norms, hook.name, batch.first_row)
    roles = torch.from_numpy(batch.rows.roles).to(lm.device)
    mask, excluded = data_mask(roles, norms, calibration, policy), count_excluded(roles, norms, calibration, policy)
    inputs = target
    if saes[0].is_transcoder:
        inputs = _inputs(lm, saes[0], ids, groups, batch.first_row)
        both = mask & data_mask(roles, inputs.norm(dim=-1), saes[0].calibration, policy)
        excluded["sink"] += int((mask & ~both).sum())
        mask = both
    data, reference, known = target[mask], calibration.mean.to(lm.device), mask.cpu().numpy()
    read = data if inputs is target else inputs[mask]
    codes = [sae.encode_sparse(read) for sae in saes]
    made = [sae.decode_sparse(one, read) for sae, one in zip(saes, codes, strict=True)]
    losses = None
    if batch.loss_rows:
        clean, first_mask = resumed.activations[: batch.loss_rows], mask[: batch.loss_rows]

        def states(new: Tensor | None, keep: Tensor) -> Tensor:
            return resumed.final_states(clean if new is None else replaced(clean, first_mask, new), keep)

        losses = measure_losses(lm, states, made, mask, ids, batch, attention, reference)
    found = []
    for number, sae in enumerate(saes):
        values = position_values(data, made[number], codes[number], reference)
        found.append(
            RowResults(
                sums_of_rows(values, data, mask, reference),
                latent_counts(codes[number], sae.d_sae),
                excluded,
                None if losses is None else losses.of_rows(number),
                {} if losses is None else losses.unscored,
                piece_sums(values, known, batch.rows.document),
                None if losses is None else losses.of_pieces(number),
            )
        )
    return found


def _inputs(
    lm: LanguageModel, sae: Sae, ids: torch.Tensor, groups: NDArray[np.int64] | None, first_row: int
) -> torch.Tensor:
    """What a transcoder reads of rows [n, L]: float32 [n, L, d_in]."""
    hook = lm.hook(sae.calibration.hook)
    document = None if groups is None else torch.from_numpy(groups).to(lm.device)
    found = lm.run_to(ids, [hook], document)[hook.name].float()
    check_finite(found.norm(dim=-1), hook.name, first_row)
    return found


def join(parts: Sequence[RowResults]) -> RowResults:
    """The results of consecutive batches as those of one."""
    losses = [part.losses for part in parts if part.losses is not None]
    pieces = [part.loss_pieces for part in parts if part.loss_pieces is not None]
    planted = [part.planted for part in parts if part.planted is not None]
    hooks = [part.hooks for part in parts if part.hooks is not None]
    return RowResults(
        RowSums(*(np.concatenate(columns) for columns in zip(*(part.sums for part in parts), strict=True))),
        np.sum([part.counts for part in parts], axis=0),
        add_counts(part.excluded for part in parts),
        RowLosses(*(np.concatenate(columns) for columns in zip(*losses, strict=True))) if losses else None,
        add_counts(part.unscored for part in parts),
        join_pieces(part.pieces for part in parts),
        join_pieces(pieces) if pieces else None,
        PlantedCounts(*(sum(columns) for columns in zip(*planted, strict=True))) if planted else None,
        HookSums(*(np.concatenate(columns) for columns in zip(*hooks, strict=True))) if hooks else None,
    )


def add_counts(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Adds counts by reason."""
    total = Counter[str]()
    for part in parts:
        total.update(part)
    return dict(total)


class Losses(NamedTuple):
    """CE and KL [m, 3 + SAEs] at scored positions bool [n, L]: untouched, zero and mean ablation, then each SAE."""

    ce: NDArray[np.float64]
    kl: NDArray[np.float64]
    scored: NDArray[np.bool_]
    document: NDArray[np.int64]
    unscored: dict[str, int]

    def of_rows(self, sae: int) -> RowLosses:
        columns = [0, 3 + sae, 1, 2]  # loss.VARIANTS
        return losses_of_rows(self.ce[:, columns], self.kl[:, columns], self.scored.sum(axis=1))

    def of_pieces(self, sae: int) -> Pieces:
        columns = [0, 3 + sae, 1, 2]
        values = np.concatenate([self.ce[:, columns], self.kl[:, columns]], axis=1)
        return piece_sums(values, self.scored, self.document)


def measure_losses(
    lm: LanguageModel,
    states: Callable[[Tensor | None, Tensor], Tensor],
    made: list[torch.Tensor],
    mask: torch.Tensor,
    ids: torch.Tensor,
    batch: Batch,
    attention: Attention,
    mean: torch.Tensor,
) -> Losses:
    """CE and KL of the batch's loss rows; `made` holds each SAE's reconstructions at all data positions of the batch.

    `states(new, keep)`: inputs of the output matrix where `keep` [loss rows, L] is true, with `new` at the data positions of the
    loss rows, or with nothing replaced.
    """
    n = batch.loss_rows
    mask, ids = mask[:n], ids[:n]
    parts = [one[: int(mask.sum())] for one in made]
    known, document = mask.cpu().numpy(), batch.rows.document[:n]
    scored = scored_positions(known, document, attention)
    on_device = torch.from_numpy(scored).to(ids.device)
    zero = torch.zeros_like(parts[0])
    new = [None, zero, mean.to(zero).expand_as(zero), *parts]
    found = [states(one, on_device) for one in new]
    targets = torch.roll(ids, -1, dims=1)[on_device]  # the last column is never scored
    ce, kl = position_losses(found, lambda s: logits_of(lm, s), targets)
    return Losses(ce, kl, scored, document, count_unscored(known, document, attention))


def replaced(x: torch.Tensor, mask: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """`x` [n, L, d] with `new` [m, d] at the m positions of `mask` [n, L]."""
    out = x.clone()
    out[mask] = new.to(x.dtype)
    return out
