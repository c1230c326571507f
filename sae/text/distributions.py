"""Figures of counts that add up over parts: lengths, shares of splits, coverage of a vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_STEPS = (1, 2, 5)  # of each power of ten: the points of a coverage curve


def length_figures(lengths: Mapping[int, int]) -> dict[str, Any]:
    """min, mean, median, p95, max and a histogram [from, below, documents] over powers of two.

    `lengths` has the number of documents of each length, all above 0. p95 is the smallest length that at least 95% of
    the documents do not exceed.
    """
    values = np.array(sorted(lengths), np.int64)
    upto = np.cumsum([lengths[int(value)] for value in values])
    total = int(upto[-1])
    middle = [_ranked(values, upto, rank) for rank in ((total - 1) // 2, total // 2)]
    bins: Counter[int] = Counter()
    for length, documents in lengths.items():
        bins[length.bit_length() - 1] += documents
    return {
        "min": int(values[0]),
        "mean": sum(length * n for length, n in lengths.items()) / total,
        "median": sum(middle) / 2,
        "p95": _ranked(values, upto, -(-95 * total // 100) - 1),
        "max": int(values[-1]),
        "histogram": [[1 << power, 1 << (power + 1), bins[power]] for power in range(min(bins), max(bins) + 1)],
    }


def _ranked(values: npt.NDArray[np.int64], upto: npt.NDArray[np.int64], rank: int) -> int:
    """The value at a rank from 0, of all values in order."""
    return int(values[np.searchsorted(upto, rank, "right")])


def split_percent(counts: Mapping[str, int]) -> dict[str, float]:
    """Share of each split in percent with two decimals. They sum to 100: the largest remainders are rounded up."""
    total = sum(counts.values())
    exact = {name: 10_000 * n / total for name, n in counts.items()}
    floors = {name: int(value) for name, value in exact.items()}
    short = 10_000 - sum(floors.values())
    for name in sorted(exact, key=lambda name: (floors[name] - exact[name], name))[:short]:
        floors[name] += 1
    return {name: value / 100 for name, value in floors.items()}


def missing_splits(present: Iterable[str], splits: Iterable[str]) -> list[str]:
    """The splits that have nothing."""
    have = set(present)
    return [name for name in splits if name not in have]


def coverage(counts: npt.NDArray[np.int64]) -> list[list[int]]:
    """A curve [n, tokens]: how many tokens of the text the n most frequent ids make up. `counts` int64 [ids].

    n is 1, 2, 5, 10, 20, 50, ... and at last the number of ids that occur.
    """
    ordered = np.sort(counts[counts > 0])[::-1]
    if not len(ordered):
        return []
    upto = np.cumsum(ordered)
    points = {step * 10**power for power in range(len(str(len(ordered)))) for step in _STEPS}
    return [[n, int(upto[n - 1])] for n in sorted({n for n in points if n < len(ordered)} | {len(ordered)})]
