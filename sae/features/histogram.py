"""Histograms of activations in log-spaced bins, the same for every feature, so that counts of any rows add up exactly.

Bin i holds activations in [2^(i/18), 2^((i+1)/18)): a ratio of 1.039, so the geometric middle of a bin is within 2% of
every activation in it. i runs over [LOWEST, LOWEST + BINS), which is 2^-24 to 2^24; what lies outside is counted in the
first or last bin.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PER_OCTAVE = 18
LOWEST = -24 * PER_OCTAVE
BINS = 48 * PER_OCTAVE
_EDGES = np.exp2(np.arange(LOWEST, LOWEST + BINS + 1, dtype=np.float64) / PER_OCTAVE).astype(np.float32)

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


def bin_of(values: Float32) -> Int64:
    """Bins counted from 0 (add LOWEST for i) of activations > 0."""
    return np.clip(np.searchsorted(_EDGES, values, side="right") - 1, 0, BINS - 1)


def lower_edge(bins: Int64) -> Float32:
    """Smallest activation of each bin, counted from 0; BINS gives the upper edge of the last one."""
    return _EDGES[bins]


def middle(bins: Int64) -> Float32:
    """Geometric middle of each bin, counted from 0."""
    return np.exp2((bins + LOWEST + 0.5) / PER_OCTAVE).astype(np.float32)


def cumulate(counts: Int64, starts: Int64) -> tuple[Int64, Int64]:
    """For histograms of several features laid end to end: (count before each bin within its feature, feature's total).

    `starts` [n + 1] delimits the features in `counts` [m]; both results have length m.
    """
    running = np.concatenate([[0], np.cumsum(counts)])
    lengths = np.diff(starts)
    before = running[:-1] - np.repeat(running[starts[:-1]], lengths)
    return before, np.repeat(running[starts[1:]] - running[starts[:-1]], lengths)


def part_of(counts: Int64, before: Int64, total: Int64, parts: int) -> Int64:
    """The quantile part (0 .. parts - 1) of each bin: the one that the bin's middle activation by rank falls into.

    A part is made of whole bins, so a feature with few distinct activations can leave parts empty.
    """
    part: Int64 = np.minimum(parts * (2 * before + counts) // (2 * total), parts - 1)
    return part


def quantiles(bins: Int64, counts: Int64, starts: Int64, probabilities: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """Quantiles [n, p] of each feature's non-zero activations, within 2%; NaN where there are none.

    The quantile of probability q over N activations is the one of rank floor(q (N - 1)), as numpy's method "lower".
    """
    n = len(starts) - 1
    out = np.full((n, len(probabilities)), np.nan, dtype=np.float32)
    running = np.concatenate([[0], np.cumsum(counts)])
    first, total = running[starts[:-1]], running[starts[1:]] - running[starts[:-1]]
    fired = total > 0
    for column, q in enumerate(probabilities):
        rank = first[fired] + np.floor(q * (total[fired] - 1)).astype(np.int64)
        out[fired, column] = middle(bins[np.searchsorted(running, rank, side="right") - 1])
    return out
