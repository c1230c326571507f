"""The sketch of a chunk: everything the features tables need of its codes, of a size bounded by features.

A sketch holds, for each feature, the count, four moments and the maximum of its non-zero activations, their histogram,
and the entries (feature, row, position, activation) that can still become examples, with the entries in their windows.
Merging adds up and prunes again. Entries and histograms come out equal whatever the chunks and the order of merging;
moments are float64 sums of fixed chunks, added in chunk order.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.features.histogram import BINS, bin_of
from sae.features.sampling import MAX_CONTEXT, MAX_FEATURES, Float32, Int64, Mask, Quota, candidates, orders

WINDOW_BEFORE = 32
WINDOW_AFTER = 16
MOMENTS = 4
_FOLD = 4_000_000  # entries that wait before they are pruned together
_BLOCK = 1_000_000  # entries that are pruned at a time


class Space(NamedTuple):
    """Bounds of what is sketched. An entry's `ident` is (feature * rows + row) * context_length + position."""

    features: int
    rows: int
    context_length: int

    def check(self) -> None:
        """Raises ValueError where the packed keys would not hold these sizes."""
        if self.features > MAX_FEATURES or self.context_length > MAX_CONTEXT:
            raise ValueError(f"{self}: extraction takes at most {MAX_FEATURES} features and contexts of {MAX_CONTEXT}")
        if self.features * self.rows * self.context_length >= 2**63:
            raise ValueError(f"{self}: features x rows x context_length must be less than 2^63; take fewer rows")

    def ident(self, feature: Int64, row: Int64, position: Int64) -> Int64:
        """Idents sort by feature, then row, then position."""
        return (feature * self.rows + row) * self.context_length + position

    def split(self, ident: Int64) -> tuple[Int64, Int64, Int64]:
        """Feature, row and position of idents."""
        token_row, position = np.divmod(ident, self.context_length)
        feature, row = np.divmod(token_row, self.rows)
        return feature, row, position


class Entries(NamedTuple):
    """Non-zero activations: ident int64 [m], ascending and unique, and value float32 [m] > 0."""

    ident: Int64
    value: Float32

    def take(self, which: Mask | Int64 | slice) -> Entries:
        """A part of the entries."""
        return Entries(self.ident[which], self.value[which])


class Sketch(NamedTuple):
    """See the module. `histogram_key` is feature * BINS + bin, ascending; `excluded` counts positions by reason."""

    positions: int
    excluded: dict[str, int]
    counts: Int64  # [F]
    moments: npt.NDArray[np.float64]  # [4, F]: sums of the activation's powers 1 to 4
    maximum: Float32  # [F]
    histogram_key: Int64  # [h]
    histogram_count: Int64  # [h]
    entries: Entries

    def between(self, first: int, stop: int, space: Space) -> Sketch:
        """The same with the histogram and the entries of features [first, stop) only."""
        bins = slice(*np.searchsorted(self.histogram_key, np.array([first, stop]) * BINS))
        size = space.rows * space.context_length
        of_features = slice(*np.searchsorted(self.entries.ident, np.array([first, stop]) * size))
        return self._replace(
            histogram_key=self.histogram_key[bins],
            histogram_count=self.histogram_count[bins],
            entries=self.entries.take(of_features),
        )


def sketch(
    feature: Int64,
    row: Int64,
    position: Int64,
    value: Float32,
    positions: int,
    excluded: dict[str, int],
    space: Space,
    quota: Quota,
) -> Sketch:
    """Sketches the codes [m] of whole rows, sorted by (row, position, feature), over `positions` data positions."""
    by_feature = stable_order(feature, space.features)
    feature, row, position, value = feature[by_feature], row[by_feature], position[by_feature], value[by_feature]
    count = np.bincount(feature, minlength=space.features)
    maximum = np.zeros(space.features, dtype=np.float32)
    fired = np.flatnonzero(count)
    if len(fired):
        maximum[fired] = np.maximum.reduceat(value, (np.cumsum(count) - count)[fired])
    wide = value.astype(np.float64)
    moments, power = np.empty((MOMENTS, space.features)), np.ones_like(wide)
    for i in range(MOMENTS):
        power = power * wide
        moments[i] = np.bincount(feature, weights=power, minlength=space.features)
    keys, counts = np.unique(feature * BINS + bin_of(value), return_counts=True)
    entries = prune(Entries(space.ident(feature, row, position), value), space, quota)
    return Sketch(positions, dict(excluded), count, moments, maximum, keys, counts.astype(np.int64), entries)


def stable_order(feature: Int64, features: int) -> Int64:
    """Stable argsort of numbers below `features`: numpy sorts 16-bit integers by radix, in linear time."""
    order = np.argsort((feature & 0xFFFF).astype(np.uint16), kind="stable")
    if features > 1 << 16:
        order = order[np.argsort((feature[order] >> 16).astype(np.uint16), kind="stable")]
    return order


def prune(entries: Entries, space: Space, quota: Quota) -> Entries:
    """Keeps the candidates and the entries in their windows; about a million at a time, cut between features.

    prune(prune(a) + prune(b)) equals prune(a + b) for entries of different rows: a candidate of the union is one of
    its part, so it and its window are still there.
    """
    size = space.rows * space.context_length
    features = entries.ident[_BLOCK::_BLOCK] // size
    cuts = np.unique(np.searchsorted(entries.ident, features * size)).tolist()
    edges = pairwise([0, *cuts, len(entries.ident)])
    blocks = [_prune(entries.take(slice(first, last)), space, quota) for first, last in edges]
    return Entries(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))


def _prune(entries: Entries, space: Space, quota: Quota) -> Entries:
    feature, row, position = space.split(entries.ident)
    chosen = candidates(orders(feature, row, position, entries.value, quota.seed), quota)
    first, last = window_bounds(entries.ident, entries.ident[chosen], position[chosen], space)
    edges = np.bincount(first, minlength=len(chosen) + 1) - np.bincount(last, minlength=len(chosen) + 1)
    return entries.take(np.cumsum(edges)[:-1] > 0)


def window_bounds(ident: Int64, chosen: Int64, position: Int64, space: Space) -> tuple[Int64, Int64]:
    """Indices [first, last) into sorted `ident` of the entries in the windows of the idents `chosen` at `position`."""
    first = np.searchsorted(ident, chosen - np.minimum(position, WINDOW_BEFORE))
    end = chosen + np.minimum(space.context_length - 1 - position, WINDOW_AFTER)
    return first, np.searchsorted(ident, end, side="right")


def merge_entries(parts: Iterable[Entries], space: Space, quota: Quota) -> Entries:
    """Merges entries of different rows."""
    ident, value = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    # Stable sorting of 64-bit integers merges runs that are sorted already.
    order = np.argsort(ident, kind="stable")
    return prune(Entries(ident[order], value[order]), space, quota)


def merge(sketches: Iterable[Sketch], space: Space, quota: Quota) -> Sketch:
    """Merges sketches of different rows, given in chunk order; reads them one at a time."""
    positions, excluded = 0, dict[str, int]()
    counts = np.zeros(space.features, dtype=np.int64)
    moments = np.zeros((MOMENTS, space.features))
    maximum = np.zeros(space.features, dtype=np.float32)
    keys, heights = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    kept, waiting, n_waiting = Entries(np.zeros(0, np.int64), np.zeros(0, np.float32)), list[Entries](), 0
    for part in sketches:
        positions += part.positions
        excluded = {k: excluded.get(k, 0) + part.excluded.get(k, 0) for k in sorted({*excluded, *part.excluded})}
        counts, moments, maximum = counts + part.counts, moments + part.moments, np.maximum(maximum, part.maximum)
        keys, heights = _add_histograms(keys, heights, part)
        waiting.append(part.entries)
        n_waiting += len(part.entries.ident)
        if n_waiting > max(_FOLD, len(kept.ident)):
            kept, waiting, n_waiting = merge_entries([kept, *waiting], space, quota), [], 0
    kept = merge_entries([kept, *waiting], space, quota)
    return Sketch(positions, excluded, counts, moments, maximum, keys, heights, kept)


def _add_histograms(keys: Int64, counts: Int64, part: Sketch) -> tuple[Int64, Int64]:
    both = np.concatenate([keys, part.histogram_key])
    order = np.argsort(both, kind="stable")
    summed, start = np.unique(both[order], return_index=True)
    if not len(summed):
        return keys, counts
    return summed, np.add.reduceat(np.concatenate([counts, part.histogram_count])[order], start)
