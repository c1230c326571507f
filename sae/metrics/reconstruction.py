"""Explained variance, sparsity and errors from sums that are made a row at a time and added in row order.

EV = 1 - sum_d E[(x_d - y_d)^2] / sum_d (E[x_d^2] - E[x_d]^2) for activations x and reconstructions y, over all data
positions. All sums are float64. The moments of x are those of x - reference: the variance is the same for any fixed
reference, and one near the mean keeps E[x^2] - E[x]^2 from cancelling. Because a row is the smallest unit that is ever
summed, and rows are added one by one in their order, no figure depends on batch size, chunk size or number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sae.sparse import Codes

Counts = NDArray[np.int64]
Sums = NDArray[np.float64]
# What is summed over positions, in the order of the columns of position_values().
VALUES = ("active", "square", "error", "l1", "made", "dot", "cosine", "ratio")


class RowSums(NamedTuple):
    """What each of n rows adds: `positions`, `active` int64 [n]; `shifted` [n, d] and the others [n] float64.

    `square`, `error`, `made`: squares of x - reference, of x - y and of y. `dot`: x y. `l1`: values of codes. `cosine` of x
    and y. `ratio`: the length of y over that of x.
    """

    positions: Counts
    active: Counts
    shifted: Sums
    square: Sums
    error: Sums
    l1: Sums
    made: Sums
    dot: Sums
    cosine: Sums
    ratio: Sums


class HookSums(NamedTuple):
    """What each of n rows adds at each of a crosscoder's H hooks, of scaled activations.

    `square`, `error` [n, H]: as of RowSums, whose `shifted` is of all hooks side by side. `width` [n, H]: dimensions of each, the
    same in every row.
    """

    square: Sums
    error: Sums
    width: Counts


class Totals(NamedTuple):
    """RowSums added over rows: `shifted` [d] is the sum of x - reference, the others are scalars."""

    positions: int
    active: int
    shifted: Sums
    square: float
    error: float
    l1: float
    made: float
    dot: float
    cosine: float
    ratio: float


def position_values(x: torch.Tensor, y: torch.Tensor, codes: Codes, reference: torch.Tensor) -> Sums:
    """VALUES of each of m positions, float64 [m, 8], from x and y [m, d], codes of the same positions, reference [d]."""
    wide, made = x.double(), y.double()
    square = (wide - reference.double()).square().sum(dim=1)
    error = (wide - made).square().sum(dim=1)
    inside, outside = wide.square().sum(dim=1), made.square().sum(dim=1)
    dot = (wide * made).sum(dim=1)
    lengths = inside.sqrt() * outside.sqrt()
    cosine = torch.where(lengths > 0, dot / lengths, torch.zeros_like(dot))
    ratio = torch.where(inside > 0, outside.sqrt() / inside.sqrt(), torch.zeros_like(dot))
    position, m = codes.position.cpu().numpy(), len(x)
    active = np.bincount(position, minlength=m).astype(np.float64)
    l1 = np.bincount(position, codes.value.double().cpu().numpy(), m)
    columns = (square, error, outside, dot, cosine, ratio)
    square_, error_, *others = (column.cpu().numpy() for column in columns)
    return np.stack([active, square_, error_, l1, *others], axis=1)


def row_sums(
    x: torch.Tensor, reconstruction: torch.Tensor, codes: Codes, mask: torch.Tensor, reference: torch.Tensor
) -> RowSums:
    """The sums of n rows.

    x and reconstruction: [m, d], the m data positions in row order. mask: bool [n, L] with m true entries. codes: of
    the same m positions. reference: [d].
    """
    return sums_of_rows(position_values(x, reconstruction, codes, reference), x, mask, reference)


def sums_of_rows(values: Sums, x: torch.Tensor, mask: torch.Tensor, reference: torch.Tensor) -> RowSums:
    """row_sums() from position_values() [m, 8] of the same positions."""
    lengths = mask.sum(dim=1)
    shifted = [(one.double() - reference.double()).sum(dim=0) for one in torch.split(x, lengths.tolist())]
    sums = segment_sums(values, lengths.cpu().numpy())
    columns = dict(zip(VALUES, sums.T, strict=True))
    active = columns.pop("active").astype(np.int64)
    return RowSums(lengths.cpu().numpy(), active, torch.stack(shifted).cpu().numpy(), **columns)


def segment_sums(values: Sums, lengths: Counts) -> Sums:
    """Sums [n, c] over consecutive segments of `values` [m, c], whose `lengths` [n] add up to m; one after another each."""
    out = np.zeros((len(lengths), values.shape[1]))
    filled = lengths > 0
    if filled.any():
        out[filled] = np.add.reduceat(values, (np.cumsum(lengths) - lengths)[filled], axis=0)
    return out


def add_rows(rows: RowSums, total: Totals | None = None) -> Totals:
    """Adds rows to the total of those before them, one by one in their order."""
    total = total or Totals(0, 0, np.zeros(rows.shifted.shape[1]), *[0.0] * (len(VALUES) - 1))
    for row in zip(*rows, strict=True):
        total = Totals(*(before + own for before, own in zip(total, row, strict=True)))
    return Totals(int(total.positions), int(total.active), total.shifted, *(float(value) for value in total[3:]))


def variance(total: Totals) -> float:
    """Variance of x, summed over dimensions."""
    mean = total.shifted / total.positions
    return total.square / total.positions - float(np.square(mean).sum())


def explained_variance(total: Totals) -> float | None:
    """EV of the module's formula; None where it is undefined (no position, or x does not vary)."""
    if not total.positions:
        return None
    whole = variance(total)
    return 1 - (total.error / total.positions) / whole if whole > 0 else None


def explained_variance_of_hooks(parts: Sequence[HookSums], total: Totals) -> list[float | None]:
    """EV at each hook, from rows that are added one by one in their order, and the total over all hooks."""
    square, error = np.zeros(parts[0].square.shape[1]), np.zeros(parts[0].square.shape[1])
    for part in parts:
        for own_square, own_error in zip(part.square, part.error, strict=True):
            square, error = square + own_square, error + own_error
    means = np.split(total.shifted / total.positions, np.cumsum(parts[0].width[0])[:-1])
    whole = square / total.positions - np.array([np.square(mean).sum() for mean in means])
    return [1 - float(e) / total.positions / float(v) if v > 0 else None for e, v in zip(error, whole, strict=True)]


def l0(total: Totals) -> float | None:
    """Mean number of active latents of a data position; None without positions."""
    return total.active / total.positions if total.positions else None


def reconstruction_figures(total: Totals) -> dict[str, float | None]:
    """What SAEBench's core reports of reconstructions, of raw activations. All are None without positions.

    l1: mean sum of the codes' values. mse: mean squared error, summed over dimensions. cosine: mean cosine of x and y.
    shrinkage: mean length of y over that of x. relative_reconstruction_bias: E[y y] / E[x y] (Rajamanoharan et al. 2024).
    """
    n = total.positions
    return {
        "l1": total.l1 / n if n else None,
        "mse": total.error / n if n else None,
        "cosine": total.cosine / n if n else None,
        "shrinkage": total.ratio / n if n else None,
        "relative_reconstruction_bias": total.made / total.dot if total.dot else None,
    }


def latent_counts(codes: Codes, d_sae: int) -> Counts:
    """How many positions each latent is active at: int64 [d_sae]."""
    counts: Counts = torch.bincount(codes.latent, minlength=d_sae).cpu().numpy()
    return counts
