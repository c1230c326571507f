"""The tables of the features artifact, written block by block of features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from sae.features.examples import KINDS, sample_examples, windows
from sae.features.histogram import BINS, LOWEST, cumulate, lower_edge, part_of, quantiles
from sae.features.logit_lens import Ranked
from sae.features.moments import as_floats
from sae.features.sampling import Int64, Quota
from sae.features.sketch import Entries, Histograms, Space, Totals
from sae.formats.features import EXAMPLES, EXAMPLES_SCHEMA, FEATURES, TableWriter, features_schema

PROBABILITIES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_MOMENTS = ("sum", "sum_squares", "sum_cubes", "sum_fourths")


class Directions(NamedTuple):
    """What the decoder directions say: nearest features, and tokens promoted and suppressed, None without a logit lens.

    `token_text` gives the text of a token. `hook_norms` [F, hooks]: lengths at each hook of a crosscoder.
    """

    neighbours: Ranked
    promoted: Ranked | None
    suppressed: Ranked | None
    token_text: Callable[[int], str]
    hook_norms: Tensor | None = None


class Block(NamedTuple):
    """Histograms and entries of features [first, stop)."""

    first: int
    stop: int
    histograms: Histograms
    entries: Entries


def write_tables(
    folder: Path,
    totals: Totals,
    blocks: Iterable[Block],
    directions: Directions,
    space: Space,
    quota: Quota,
    parts: int,
) -> None:
    """Writes `features.parquet` and `examples.parquet`, one row group of each a block. `parts`: of the quantile examples."""
    moments = as_floats(totals.moments, totals.maximum)
    with (
        TableWriter(folder / FEATURES, features_schema(directions.hook_norms is not None)) as features,
        TableWriter(folder / EXAMPLES, EXAMPLES_SCHEMA) as examples,
    ):
        for block in blocks:
            statistics = _statistics(totals, moments, block, parts)
            features.write(statistics | _directions(directions, block.first, block.stop))
            examples.write(_examples(block, space, quota, parts))


def _examples(block: Block, space: Space, quota: Quota, parts: int) -> dict[str, Any]:
    sampled = sample_examples(block.histograms, block.entries, space, quota, parts)
    around = windows(block.entries, sampled, space)
    columns: dict[str, Any] = sampled._asdict()
    columns["kind"] = pa.array(KINDS).take(pa.array(sampled.kind))
    columns["part"] = pa.array(sampled.part, mask=sampled.part < 0)
    return columns | {"start": around.start, "acts": _lists(around.acts, around.offsets)}


def _statistics(totals: Totals, moments: npt.NDArray[np.float64], block: Block, parts: int) -> dict[str, Any]:
    first, stop, (keys, counts), _ = block
    starts, bins = np.searchsorted(keys, np.arange(first, stop + 1) * BINS), keys % BINS
    fired = totals.counts[first:stop] > 0
    middles = quantiles(bins, counts, starts, PROBABILITIES)
    edges = _part_edges(bins, counts, starts, parts)
    return {
        "feature": np.arange(first, stop),
        "count": totals.counts[first:stop],
        "density": totals.counts[first:stop] / totals.positions,
        **{name: moments[i, first:stop] for i, name in enumerate(_MOMENTS)},
        "max": totals.maximum[first:stop],
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
        names = (side, f"{side}_logits", f"{side}_tokens")
        if ranked is None:
            out |= dict.fromkeys(names, [None] * (stop - first))
            continue
        texts = [[directions.token_text(int(t)) for t in row] for row in ranked.ids[first:stop]]
        out |= dict(zip(names, (*_ranked(ranked, first, stop), texts), strict=True))
    out["neighbours"], out["neighbour_cosines"] = _ranked(directions.neighbours, first, stop)
    if directions.hook_norms is not None:
        out["hook_norms"] = _rows_of(directions.hook_norms[first:stop].numpy())
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
