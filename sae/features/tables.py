"""Writes the features artifact from a merged sketch, block by block of features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sae.features.examples import KINDS, choose, windows
from sae.features.histogram import BINS, LOWEST, cumulate, lower_edge, part_of, quantiles
from sae.features.logit_lens import Ranked
from sae.features.sampling import Int64, Quota
from sae.features.sketch import Sketch, Space
from sae.formats.features import EXAMPLES_SCHEMA, FEATURES_SCHEMA, TableWriter, feature_blocks

PROBABILITIES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_MOMENTS = ("sum", "sum_squares", "sum_cubes", "sum_fourths")


class Directions(NamedTuple):
    """What the decoder directions say: tokens promoted and suppressed, nearest features, and the text of a token."""

    promoted: Ranked
    suppressed: Ranked
    neighbours: Ranked
    token_text: Callable[[int], str]


def write_features(path: Path, merged: Sketch, directions: Directions, parts: int) -> None:
    """Writes `features.parquet`. `parts` is the number of quantile parts whose edges are recorded."""
    with TableWriter(path, FEATURES_SCHEMA) as writer:
        for first, stop in feature_blocks(len(merged.counts)):
            writer.write(_statistics(merged, first, stop, parts) | _directions(directions, first, stop))


def write_examples(path: Path, merged: Sketch, space: Space, quota: Quota, parts: int) -> None:
    """Writes `examples.parquet`."""
    with TableWriter(path, EXAMPLES_SCHEMA) as writer:
        for first, stop in feature_blocks(space.features):
            block = merged.between(first, stop, space)
            drawn = choose(block, space, quota, parts)
            around = windows(block.entries, drawn, space)
            columns: dict[str, Any] = drawn._asdict()
            columns["kind"] = pa.array(KINDS).take(pa.array(drawn.kind))
            columns["part"] = pa.array(drawn.part, mask=drawn.part < 0)
            columns |= {"start": around.start, "acts": _lists(around.acts, around.offsets)}
            writer.write(columns)


def _statistics(merged: Sketch, first: int, stop: int, parts: int) -> dict[str, Any]:
    bounds = np.searchsorted(merged.histogram_key, np.arange(first, stop + 1) * BINS)
    keys = merged.histogram_key[bounds[0] : bounds[-1]]
    counts = merged.histogram_count[bounds[0] : bounds[-1]]
    starts, bins = bounds - bounds[0], keys % BINS
    fired = merged.counts[first:stop] > 0
    middles = quantiles(bins, counts, starts, PROBABILITIES)
    edges = _part_edges(bins, counts, starts, parts)
    return {
        "feature": np.arange(first, stop),
        "count": merged.counts[first:stop],
        "density": merged.counts[first:stop] / merged.positions,
        **{name: merged.moments[i, first:stop] for i, name in enumerate(_MOMENTS)},
        "max": merged.maximum[first:stop],
        "quantiles": _rows_of(middles, fired),
        "part_edges": _rows_of(edges, fired),
        "histogram_bins": _lists(bins + LOWEST, starts),
        "histogram_counts": _lists(counts, starts),
    }


def _part_edges(bins: Int64, counts: Int64, starts: Int64, parts: int) -> npt.NDArray[np.float32]:
    """Edges [n, parts + 1] of each feature's parts: lower edges of their first bins, and the last bin's upper edge.

    An empty part has the edge of the next one, so its width is 0.
    """
    n = len(starts) - 1
    part = part_of(counts, *cumulate(counts, starts), parts)
    owner = np.repeat(np.arange(n), np.diff(starts))
    # Features and parts ascend, so the first bin at or after (feature, part) begins the part.
    begin = np.searchsorted(owner * (parts + 1) + part, np.arange(n * (parts + 1)).reshape(n, parts + 1))
    last = np.maximum(starts[1:], 1) - 1
    begin = np.minimum(begin, last[:, None])
    edges = np.zeros((n, parts + 1), dtype=np.float32)
    if len(bins):
        edges = lower_edge(bins[begin])
        after = np.arange(n * (parts + 1)).reshape(n, parts + 1) > (owner * (parts + 1) + part)[last][:, None]
        edges = np.where(after, lower_edge(bins[last] + 1)[:, None], edges)
    return edges


def _directions(directions: Directions, first: int, stop: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for side, ranked in (("promoted", directions.promoted), ("suppressed", directions.suppressed)):
        out[side], out[f"{side}_logits"] = _ranked(ranked, first, stop)
        texts = [[directions.token_text(int(t)) for t in row] for row in ranked.ids[first:stop]]
        out[f"{side}_tokens"] = texts
    out["neighbours"], out["neighbour_cosines"] = _ranked(directions.neighbours, first, stop)
    return out


def _ranked(ranked: Ranked, first: int, stop: int) -> tuple[pa.Array, pa.Array]:
    index, value = ranked.ids[first:stop].numpy(), ranked.values[first:stop].numpy()
    return _rows_of(index), _rows_of(value)


def _rows_of(matrix: npt.NDArray[Any], which: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Rows of a matrix [n, m] as lists, empty ones where `which` is false."""
    which = np.ones(len(matrix), dtype=np.bool_) if which is None else which
    return _lists(matrix[which].reshape(-1), np.concatenate([[0], np.cumsum(which) * matrix.shape[1]]))


def _lists(values: npt.NDArray[Any], offsets: Int64) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
