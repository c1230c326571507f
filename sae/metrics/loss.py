"""Cross-entropy and KL divergence of the language model with its activations replaced at one hook.

Four variants of the hook's activations at data positions: `clean` (as they are), `sae` (reconstructed), `zero`, and
`mean` (the calibration mean). All other positions (BOS, separators, special tokens, padding, attention sinks) keep
their clean activations in every variant. With a = zero or mean:

    CE score = (CE_a - CE_sae) / (CE_a - CE_clean)        KL score = (KL_a - KL_sae) / KL_a

1 is the untouched model, 0 is no better than the ablation. KL is KL(clean || variant), in nats, as CE is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sae.metrics.reconstruction import segment_sums

VARIANTS = ("clean", "sae", "zero", "mean")
# Logits of this many positions are held at once: 4 variants of [128, 49152] fp32 are 100 MB. Fixed, as a language
# model's head may round differently for another number of positions.
SLICE = 128
# Softmax runs over smaller slices that stay in the processor's cache.
_CACHED = 1 << 19

Sums = NDArray[np.float64]


class RowLosses(NamedTuple):
    """Of n rows: `scored` positions int64 [n]; sums of `ce` and `kl` over them, float64 [n, 4], in VARIANTS order."""

    scored: NDArray[np.int64]
    ce: Sums
    kl: Sums


class Losses(NamedTuple):
    """Means over all scored positions, in nats, by variant."""

    scored: int
    ce: dict[str, float]
    kl: dict[str, float]


def row_losses(
    states: Sequence[torch.Tensor],
    head: Callable[[torch.Tensor], torch.Tensor],
    targets: torch.Tensor,
    scored: torch.Tensor,
) -> RowLosses:
    """The losses of n rows.

    states: one tensor [m, d] a variant, the input of the unembedding at the m scored positions in row order. head: maps
    [s, d] to logits [s, V]. targets: int64 [m], the tokens that follow. scored: bool [n, L] with m true entries.
    """
    return losses_of_rows(*position_losses(states, head, targets), scored.sum(dim=1).cpu().numpy())


def position_losses(
    states: Sequence[torch.Tensor], head: Callable[[torch.Tensor], torch.Tensor], targets: torch.Tensor
) -> tuple[Sums, Sums]:
    """CE and KL of each of m positions, float64 [m, variants]; arguments as of row_losses(). The first variant is clean."""
    ce = np.empty((len(targets), len(states)))
    kl = np.empty_like(ce)
    # Equal slices: a product of one or two rows rounds otherwise than the same rows in a large one.
    count = -(-len(targets) // SLICE)
    for start, stop in pairwise(len(targets) * i // max(1, count) for i in range(count + 1)):
        logits = [head(state[start:stop]) for state in states]
        ce[start:stop], kl[start:stop] = _position_losses(logits, targets[start:stop])
    return ce, kl


def losses_of_rows(ce: Sums, kl: Sums, lengths: NDArray[np.int64]) -> RowLosses:
    """RowLosses of n rows with `lengths` [n] scored positions, from the losses of these, [m, 4] each."""
    return RowLosses(lengths.astype(np.int64), segment_sums(ce, lengths), segment_sums(kl, lengths))


def mean_losses(parts: Iterable[RowLosses]) -> Losses | None:
    """Adds rows one by one in the order given, and divides. None if no position was scored."""
    count, ce, kl = 0, np.zeros(len(VARIANTS)), np.zeros(len(VARIANTS))
    for part in parts:
        for n, row_ce, row_kl in zip(*part, strict=True):
            count, ce, kl = count + int(n), ce + row_ce, kl + row_kl
    if not count:
        return None
    return Losses(
        count,
        dict(zip(VARIANTS, (ce / count).tolist(), strict=True)),
        dict(zip(VARIANTS, (kl / count).tolist(), strict=True)),
    )


def ce_score(ablated: float, sae: float, clean: float) -> float | None:
    """(ablated - sae) / (ablated - clean); None where ablation does not change the loss."""
    return (ablated - sae) / (ablated - clean) if ablated != clean else None


def kl_score(ablated: float, sae: float) -> float | None:
    """(ablated - sae) / ablated; None where ablation does not change the predictions."""
    return (ablated - sae) / ablated if ablated else None


def _position_losses(logits: Sequence[torch.Tensor], targets: torch.Tensor) -> tuple[Sums, Sums]:
    """CE and KL at each of s positions: float64 [s, variants], from the logits [s, V] of each variant, clean first."""
    step = max(1, _CACHED // logits[0].shape[1])
    ce, kl = [], []
    for start in range(0, len(targets), step):
        target = targets[start : start + step, None]
        logs = [one[start : start + step].float().log_softmax(dim=-1) for one in logits]
        weight = logs[0].exp()
        ce.append(torch.stack([-log.gather(1, target)[:, 0].double() for log in logs], dim=1))
        kl.append(torch.stack([_expected(weight, logs[0], log) for log in logs], dim=1))
    return torch.cat(ce).cpu().numpy(), torch.cat(kl).cpu().numpy()


def _expected(weight: torch.Tensor, clean: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """sum_v weight * (clean - other), [s] float64. Exactly 0 where both are equal."""
    if other is clean:
        return torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
    return (clean - other).mul_(weight).sum(dim=-1, dtype=torch.float64)
