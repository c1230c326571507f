"""Explained variance, L0 and density from sums that are made a row at a time and added in row order.

EV = 1 - sum_d E[(x_d - y_d)^2] / sum_d (E[x_d^2] - E[x_d]^2) for activations x and reconstructions y, over all data
positions. All sums are float64. The moments of x are those of x - reference: the variance is the same for any fixed
reference, and one near the mean keeps E[x^2] - E[x]^2 from cancelling. Because a row is the smallest unit that is ever
summed, and rows are added one by one in their order, no figure depends on batch size, chunk size or number of workers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sae.sparse import Codes

Counts = NDArray[np.int64]
Sums = NDArray[np.float64]


class RowSums(NamedTuple):
    """What each of n rows adds: `positions`, `active` int64 [n]; `shifted` [n, d], `square`, `error` [n] float64."""

    positions: Counts
    active: Counts
    shifted: Sums
    square: Sums
    error: Sums


class Totals(NamedTuple):
    """RowSums added over rows: `shifted` [d] is the sum of x - reference, the others are scalars."""

    positions: int
    active: int
    shifted: Sums
    square: float
    error: float


def row_sums(
    x: torch.Tensor, reconstruction: torch.Tensor, codes: Codes, mask: torch.Tensor, reference: torch.Tensor
) -> RowSums:
    """The sums of n rows.

    x and reconstruction: [m, d], the m data positions in row order. mask: bool [n, L] with m true entries. codes: of
    the same m positions. reference: [d].
    """
    lengths = mask.sum(dim=1)
    row_of = torch.repeat_interleave(torch.arange(len(lengths), device=mask.device), lengths)
    active = torch.bincount(row_of[codes.position], minlength=len(lengths))
    shifted, square, error = [], [], []
    sizes: list[int] = lengths.tolist()
    for one, made in zip(torch.split(x, sizes), torch.split(reconstruction, sizes), strict=True):
        wide = one.double()
        centred = wide - reference.double()
        shifted.append(centred.sum(dim=0))
        # Summed over dimensions first: a sum over a whole matrix changes with the number of threads.
        square.append(centred.square().sum(dim=1).sum())
        error.append((wide - made.double()).square().sum(dim=1).sum())
    return RowSums(
        lengths.cpu().numpy(),
        active.cpu().numpy(),
        torch.stack(shifted).cpu().numpy(),
        torch.stack(square).cpu().numpy(),
        torch.stack(error).cpu().numpy(),
    )


def add_rows(rows: RowSums, total: Totals | None = None) -> Totals:
    """Adds rows to the total of those before them, one by one in their order."""
    total = total or Totals(0, 0, np.zeros(rows.shifted.shape[1]), 0.0, 0.0)
    for positions, active, shifted, square, error in zip(*rows, strict=True):
        total = Totals(
            total.positions + int(positions),
            total.active + int(active),
            total.shifted + shifted,
            total.square + float(square),
            total.error + float(error),
        )
    return total


def explained_variance(total: Totals) -> float | None:
    """EV of the module's formula; None where it is undefined (no position, or x does not vary)."""
    if not total.positions:
        return None
    mean = total.shifted / total.positions
    variance = total.square / total.positions - float(np.square(mean).sum())
    return 1 - (total.error / total.positions) / variance if variance > 0 else None


def l0(total: Totals) -> float | None:
    """Mean number of active latents of a data position; None without positions."""
    return total.active / total.positions if total.positions else None


def latent_counts(codes: Codes, d_sae: int) -> Counts:
    """How many positions each latent is active at: int64 [d_sae]."""
    counts: Counts = torch.bincount(codes.latent, minlength=d_sae).cpu().numpy()
    return counts
