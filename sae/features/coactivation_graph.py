"""The graph of features that are active together: an edge for each pair that either feature lists, with exact counts."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sae.features.coactivation import Int64

Measure = Literal["npmi", "pmi", "jaccard", "cosine"]
Float64 = npt.NDArray[np.float64]


class CoactivationGraph(NamedTuple):
    """Edges between features `a` < `b` [E], each pair once: `joint` positions where both are active, and `npmi`.

    `counts` [F]: active positions of each feature, of `positions` in all. `lowest` [F]: the NPMI of the last feature that each
    lists, if its list is full: further ones with less than that are not known; -inf if the list has all.
    """

    positions: int
    counts: Int64
    a: Int64
    b: Int64
    joint: Int64
    npmi: Float64
    lowest: Float64


def coactivation_graph(
    positions: int, counts: Int64, starts: Int64, partner: Int64, joint: Int64, npmi: Float64, most: int
) -> CoactivationGraph:
    """From the partners of feature f, entries `starts[f]:starts[f + 1]`, the highest NPMI first, at most `most` of them."""
    features, listed = len(counts), np.diff(starts)
    owner = np.repeat(np.arange(features), listed)
    pairs = np.minimum(owner, partner) * features + np.maximum(owner, partner)
    keys, first = np.unique(pairs, return_index=True)
    lowest = np.full(features, -np.inf)
    full = listed >= most
    lowest[full] = npmi[starts[1:][full] - 1]
    return CoactivationGraph(positions, counts, keys // features, keys % features, joint[first], npmi[first], lowest)


def strengths(graph: CoactivationGraph, measure: Measure) -> Float64:
    """A measure of every edge [E]. PMI is in nats; Jaccard and cosine are of the sets of positions."""
    a, b = graph.counts[graph.a].astype(np.float64), graph.counts[graph.b].astype(np.float64)
    if measure == "npmi":
        return graph.npmi
    if measure == "pmi":
        found: Float64 = np.log(graph.joint * graph.positions / (a * b))
    elif measure == "jaccard":
        found = graph.joint / (a + b - graph.joint)
    else:
        found = graph.joint / np.sqrt(a * b)
    return found


def cut_features(graph: CoactivationGraph, measure: Measure, least: float) -> int:
    """Features that may have further edges of at least so much: a pair is missing only if both of its features are such.

    Lists are by NPMI, so by another measure any full list may be cut.
    """
    return int((graph.lowest >= (least if measure == "npmi" else -1)).sum())
