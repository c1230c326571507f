"""Where each token goes: prefix sums over chunks give rows, a seeded permutation gives their order, rows give shards.

The stream of a split is all its documents in order, each followed by its separator. Row r holds the stream's tokens
[r * payload, (r + 1) * payload), behind a BOS where the config wants one; the last row is padded. Nothing here depends
on workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.formats.tokens import SPLITS
from sae.text.flat_tokens import ChunkCounts


class SplitLayout(NamedTuple):
    """One split: rows in all, and where each chunk's tokens lie.

    Chunk c holds the stream's tokens [starts[c], starts[c+1]), and they begin at token within[c] of its flat file.
    """

    split: str
    rows: int
    starts: tuple[int, ...]
    within: tuple[int, ...]


class Shard(NamedTuple):
    """One output file: rows [start, stop) of a split, in shuffled order."""

    split: str
    number: int
    start: int
    stop: int


def split_layouts(counts: Sequence[ChunkCounts], payload: int) -> list[SplitLayout]:
    """The layout of every split that has tokens. `payload` is the number of stream tokens that a row takes."""
    layouts = []
    within = [0] * len(counts)
    for split in SPLITS:
        sizes = [chunk.splits[split].stream if split in chunk.splits else 0 for chunk in counts]
        starts = [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
        if starts[-1]:
            layouts.append(SplitLayout(split, -(-starts[-1] // payload), tuple(starts), tuple(within)))
        within = [offset + size for offset, size in zip(within, sizes, strict=True)]
    return layouts


def split_shards(layout: SplitLayout, rows_per_shard: int) -> list[Shard]:
    """The output files of a split: `rows_per_shard` rows each, the last one the rest."""
    starts = range(0, layout.rows, rows_per_shard)
    return [Shard(layout.split, i, s, min(s + rows_per_shard, layout.rows)) for i, s in enumerate(starts)]


@lru_cache(maxsize=4)
def row_order(split: str, rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Which original row is at each index of a split: a permutation of `rows` from (seed, split).

    The order of raw PCG64 words, which NumPy promises not to change (unlike Generator.permutation).
    """
    bits = np.random.PCG64(np.random.SeedSequence([seed, SPLITS.index(split)]))
    order = np.argsort(bits.random_raw(rows), kind="stable")
    order.setflags(write=False)
    return order
