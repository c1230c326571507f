"""From merged histograms and entries to the examples of each feature: top, by quantile part, and uniformly drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sae.features.histogram import BINS, cumulate, part_of
from sae.features.sampling import Float32, Int64, Orders, Quota, UInt64, keep_first, orders
from sae.features.sketch import WINDOW_AFTER, WINDOW_BEFORE, Entries, Histograms, Space, window_bounds

KINDS = ("top", "quantile", "uniform")


class Examples(NamedTuple):
    """Examples [e] sorted by (feature, kind, part, rank). `kind` indexes KINDS; `part` is -1 but for quantile ones."""

    feature: Int64
    kind: Int64
    part: Int64
    rank: Int64
    row: Int64
    position: Int64
    activation: Float32


class Windows(NamedTuple):
    """Windows of e examples: position `start` [e], and activations of the same feature from there on.

    Those of example i are `acts[offsets[i]:offsets[i + 1]]`; positions where the feature is silent, or that are not
    data, have 0.
    """

    start: Int64
    offsets: Int64
    acts: Float32


def sample_examples(histograms: Histograms, entries: Entries, space: Space, quota: Quota, parts: int) -> Examples:
    """Samples the examples. `quota.quantile` of them come from each of `parts` equal parts of the activations by rank."""
    if parts > BINS:
        raise ValueError(f"{parts} quantile parts are more than the {BINS} bins of the histogram")
    feature, row, position = space.split(entries.ident)
    keys = orders(feature, row, position, entries.value, quota.seed)
    part = _quantile_parts(histograms, keys, parts)
    by_part = feature.astype(np.uint64) * np.uint64(parts) + part.astype(np.uint64)
    sampled = (
        keep_first(keys.feature, keys.value_order, quota.top),
        keep_first(by_part, keys.quantile_order, quota.quantile),
        keep_first(keys.feature, keys.uniform_order, quota.uniform),
    )
    which = np.concatenate(sampled)
    kind = np.repeat(np.arange(len(KINDS)), [len(s) for s in sampled])
    rank = np.concatenate([_rank(g[s]) for g, s in zip((keys.feature, by_part, keys.feature), sampled, strict=True)])
    # Each sample is sorted by (feature, part, rank), so a stable sort by (feature, kind) is all that is missing.
    order = np.argsort(feature[which] * len(KINDS) + kind, kind="stable")
    which, kind, rank = which[order], kind[order], rank[order]
    shown_part = np.where(kind == KINDS.index("quantile"), part[which], -1)
    return Examples(feature[which], kind, shown_part, rank, row[which], position[which], entries.value[which])


def windows(entries: Entries, examples: Examples, space: Space) -> Windows:
    """Activations around the examples, WINDOW_BEFORE to WINDOW_AFTER positions, clipped to the row."""
    position = examples.position
    before = np.minimum(position, WINDOW_BEFORE)
    length = before + 1 + np.minimum(space.context_length - 1 - position, WINDOW_AFTER)
    offsets = np.concatenate([[0], np.cumsum(length)])
    ident = space.ident(examples.feature, examples.row, position)
    first, last = window_bounds(entries.ident, ident, position, space)
    n = last - first
    example = np.repeat(np.arange(len(ident)), n)
    entry = np.arange(len(example)) - np.repeat(np.cumsum(n) - n - first, n)
    acts = np.zeros(offsets[-1], dtype=np.float32)
    target = offsets[example] + before[example] + entries.ident[entry] - ident[example]
    acts[target] = entries.value[entry]
    return Windows(position - before, offsets, acts)


def _quantile_parts(histograms: Histograms, keys: Orders, parts: int) -> Int64:
    """The quantile part of each entry, from the histogram."""
    starts = np.flatnonzero(np.diff(histograms.key // BINS, prepend=-1, append=-1))
    before, total = cumulate(histograms.height, starts)
    by_bin = part_of(histograms.height, before, total, parts)
    return by_bin[np.searchsorted(histograms.key, keys.feature_bin.astype(np.int64))]


def _rank(group: UInt64) -> Int64:
    """Rank of each element within its group, for sorted groups."""
    index = np.arange(len(group))
    starts = np.ones(len(group), dtype=np.bool_)
    starts[1:] = group[1:] != group[:-1]
    return index - np.maximum.accumulate(np.where(starts, index, 0))
