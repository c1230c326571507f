"""The sketch of some rows: everything the features tables need of their codes, of a size bounded by features.

A sketch holds, for each feature, the count, four moments and the maximum of its non-zero activations, their histogram,
and the entries (feature, row, position, activation) that can still become examples, with the entries in their windows.
Merging adds up and prunes again. What comes out is equal, bit for bit, whatever the rows of each sketch and the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.features.histogram import BINS, bin_of
from sae.features.moments import MAX_COUNT, add_sums, sum_powers
from sae.features.sampling import MAX_CONTEXT, MAX_FEATURES, Float32, Int64, Mask, Quota, candidates, orders

WINDOW_BEFORE = 32
WINDOW_AFTER = 16
_FOLD = 1_000_000  # entries that wait before they are pruned together
_BLOCK = 250_000  # entries that are pruned at a time


class Space(NamedTuple):
    """Bounds of what is sketched. An entry's `ident` is (feature * rows + row) * context_length + position."""

    features: int
    rows: int
    context_length: int

    def check(self) -> None:
        """Raises ValueError where the packed keys would not hold these sizes."""
        if self.features > MAX_FEATURES or self.context_length > MAX_CONTEXT:
            raise ValueError(f"{self}: extraction takes at most {MAX_FEATURES} features and contexts of {MAX_CONTEXT}")
        if self.features * self.rows * self.context_length >= 2**63 or self.rows * self.context_length > MAX_COUNT:
            raise ValueError(
                f"{self}: features x rows x context_length must be less than 2^63, and rows x context_length at most "
                f"{MAX_COUNT}; take fewer rows"
            )

    def ident(self, feature: Int64, row: Int64, position: Int64) -> Int64:
        """Idents sort by feature, then row, then position."""
        return (feature * self.rows + row) * self.context_length + position

    def split(self, ident: Int64) -> tuple[Int64, Int64, Int64]:
        """Feature, row and position of idents."""
        token_row, position = np.divmod(ident, self.context_length)
        feature, row = np.divmod(token_row, self.rows)
        return feature, row, position

    def bounds(self, ident: Int64, features: Int64 | Sequence[int]) -> Int64:
        """The first index into sorted `ident` of each of `features`."""
        return np.searchsorted(ident, np.asarray(features) * (self.rows * self.context_length))


class Totals(NamedTuple):
    """What is summed over positions. `excluded` counts positions by reason; `moments` are digits, see sae.features.moments."""

    positions: int
    excluded: dict[str, int]
    counts: Int64  # [F]
    moments: Int64  # [4, 3, F]
    maximum: Float32  # [F]


class Histograms(NamedTuple):
    """Non-zero activations by bin: `key` int64 [h] is feature * BINS + bin, ascending; `height` int64 [h]."""

    key: Int64
    height: Int64


class Entries(NamedTuple):
    """Non-zero activations: ident int64 [m], ascending and unique, and value float32 [m] > 0."""

    ident: Int64
    value: Float32

    def take(self, which: Mask | Int64 | slice) -> Entries:
        """A part of the entries."""
        return Entries(self.ident[which], self.value[which])


class Sketch(NamedTuple):
    """See the module."""

    totals: Totals
    histograms: Histograms
    entries: Entries


class SketchMerger:
    """Merges sketches of different rows as they come. Holds what is kept and as much again, at least _FOLD entries."""

    def __init__(self, space: Space, quota: Quota) -> None:
        self._space, self._quota = space, quota
        self._totals: Totals | None = None
        self._histograms: list[Histograms] = []
        self._entries: list[Entries] = []
        self._kept = self._waiting = 0

    def add(self, part: Sketch) -> None:
        """Adds a sketch of other rows."""
        self._totals = part.totals if self._totals is None else add_totals(self._totals, part.totals)
        self.add_features(part.histograms, part.entries)

    def add_features(self, histograms: Histograms, entries: Entries) -> None:
        """Adds histograms and entries alone."""
        self._histograms.append(histograms)
        self._entries.append(entries)
        self._waiting += len(entries.ident)
        if self._waiting > max(_FOLD, self._kept):
            self._fold()

    def result(self) -> Sketch:
        """The sketch of all that was added with `add`. Raises ValueError if nothing was."""
        if self._totals is None:
            raise ValueError("there is no sketch to merge")
        return Sketch(self._totals, *self.features())

    def features(self) -> tuple[Histograms, Entries]:
        """Histograms and entries of all that was added."""
        self._fold()
        return self._histograms[0], self._entries[0]

    def _fold(self) -> None:
        self._histograms = [add_histograms(self._histograms)]
        self._entries = [merge_entries(self._entries, self._space, self._quota)]
        self._kept, self._waiting = len(self._entries[0].ident), 0


def sketch(
    feature: Int64,
    row: Int64,
    position: Int64,
    value: Float32,
    positions: int,
    excluded: dict[str, int],
    space: Space,
) -> Sketch:
    """Sketches the codes [m] of whole rows, sorted by (row, position, feature), over `positions` data positions.

    Its entries are all codes: merging prunes them.
    """
    by_feature = stable_order(feature, space.features)
    feature, row, position, value = feature[by_feature], row[by_feature], position[by_feature], value[by_feature]
    count = np.bincount(feature, minlength=space.features)
    maximum = np.zeros(space.features, dtype=np.float32)
    fired = np.flatnonzero(count)
    if len(fired):
        maximum[fired] = np.maximum.reduceat(value, (np.cumsum(count) - count)[fired])
    keys, heights = np.unique(feature * BINS + bin_of(value), return_counts=True)
    return Sketch(
        Totals(positions, dict(excluded), count, sum_powers(value, count, maximum), maximum),
        Histograms(keys, heights.astype(np.int64)),
        Entries(space.ident(feature, row, position), value),
    )


def merge(sketches: Iterable[Sketch], space: Space, quota: Quota) -> Sketch:
    """Merges sketches of different rows, one at a time."""
    merger = SketchMerger(space, quota)
    for part in sketches:
        merger.add(part)
    return merger.result()


def add_totals(a: Totals, b: Totals) -> Totals:
    """The totals of both together."""
    return Totals(
        a.positions + b.positions,
        {
            reason: a.excluded.get(reason, 0) + b.excluded.get(reason, 0)
            for reason in sorted({*a.excluded, *b.excluded})
        },
        a.counts + b.counts,
        add_sums(a.moments, a.maximum, b.moments, b.maximum),
        np.maximum(a.maximum, b.maximum),
    )


def add_histograms(parts: Sequence[Histograms]) -> Histograms:
    """The histograms of all together."""
    key, height = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(key, kind="stable")  # merges runs that are sorted already
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return Histograms(key[first], np.add.reduceat(height[order], first) if len(first) else height)


def merge_entries(parts: Sequence[Entries], space: Space, quota: Quota) -> Entries:
    """Keeps, of entries of different rows, the candidates and the entries in their windows.

    Pruning what was pruned in parts gives what pruning all at once gives: a candidate of the whole is one of its part,
    so it and its window are still there. Works on about a million entries at a time, cut between features.
    """
    largest = max(parts, key=lambda part: len(part.ident)).ident
    step = max(1, _BLOCK * len(largest) // max(1, sum(len(part.ident) for part in parts)))
    inner = np.unique(largest[step::step] // (space.rows * space.context_length))
    edges = np.concatenate([[0], inner[inner > 0], [space.features]])
    bounds = [space.bounds(part.ident, edges) for part in parts]
    blocks = []
    for i in range(len(edges) - 1):
        ranges = [slice(at[i], at[i + 1]) for at in bounds]
        ident, value = (np.concatenate([part[field][cut] for part, cut in zip(parts, ranges, strict=True)])
                        for field in range(2))  # fmt: skip
        order = np.argsort(ident, kind="stable")
        blocks.append(_prune(Entries(ident[order], value[order]), space, quota))
    return Entries(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))


def stable_order(feature: Int64, features: int) -> Int64:
    """Stable argsort of numbers below `features`: numpy sorts 16-bit integers by radix, in linear time."""
    order = np.argsort((feature & 0xFFFF).astype(np.uint16), kind="stable")
    if features > 1 << 16:
        order = order[np.argsort((feature[order] >> 16).astype(np.uint16), kind="stable")]
    return order


def window_bounds(ident: Int64, chosen: Int64, position: Int64, space: Space) -> tuple[Int64, Int64]:
    """Indices [first, last) into sorted `ident` of the entries in the windows of the idents `chosen` at `position`."""
    first = np.searchsorted(ident, chosen - np.minimum(position, WINDOW_BEFORE))
    end = chosen + np.minimum(space.context_length - 1 - position, WINDOW_AFTER)
    return first, np.searchsorted(ident, end, side="right")


def _prune(entries: Entries, space: Space, quota: Quota) -> Entries:
    feature, row, position = space.split(entries.ident)
    chosen: npt.NDArray[np.bool_] = candidates(orders(feature, row, position, entries.value, quota.seed), quota)
    first, last = window_bounds(entries.ident, entries.ident[chosen], position[chosen], space)
    edges = np.bincount(first, minlength=len(chosen) + 1) - np.bincount(last, minlength=len(chosen) + 1)
    return entries.take(np.cumsum(edges)[:-1] > 0)
