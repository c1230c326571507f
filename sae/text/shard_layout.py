"""Where each token goes: prefix sums over chunks give rows, a seeded permutation gives their order, rows give shards.

The stream of a split is all its documents in order, each followed by its separator. What a row holds of it follows from
the number of tokens in each document and the config. Nothing here depends on workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from configs.tokenize import TokenizeConfig
from sae.formats.tokens import SPLITS
from sae.text.best_fit import best_fit
from sae.text.document_pieces import document_pieces
from sae.text.flat_tokens import ChunkCounts
from sae.text.row_pieces import ConcatenatedRows, RowPieces, list_rows
from sae.text.tokenizer_spec import TokenizerSpec


class Divided(NamedTuple):
    """What became of documents that did not fit into one row."""

    documents: int  # those with tokens in more than one row
    cut_documents: int  # those that lost tokens
    cut_tokens: int


class SplitLayout(NamedTuple):
    """One split: its rows, and where each chunk's tokens lie.

    Chunk c holds the stream's tokens [starts[c], starts[c+1]), and they begin at token within[c] of its flat file.
    """

    split: str
    pieces: RowPieces
    starts: tuple[int, ...]
    within: tuple[int, ...]
    divided: Divided

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.pieces.rows


class Shard(NamedTuple):
    """One output file: rows [start, stop) of a split, in shuffled order."""

    split: str
    number: int
    start: int
    stop: int


def split_layouts(counts: Sequence[ChunkCounts], spec: TokenizerSpec, config: TokenizeConfig) -> list[SplitLayout]:
    """The layout of every split that has tokens. Raises TokenizeError for a document that the config refuses."""
    layouts = []
    within = [0] * len(counts)
    for split in SPLITS:
        parts = [chunk.splits.get(split) for chunk in counts]
        sizes = [0 if part is None else part.stream for part in parts]
        starts = (0, *np.cumsum(sizes, dtype=np.int64).tolist())
        if starts[-1]:
            joined = b"".join(part.document_tokens for part in parts if part is not None)
            lengths = np.frombuffer(joined, "<i4").astype(np.int64)
            pieces, divided = _rows(lengths, starts[-1], spec, config)
            layouts.append(SplitLayout(split, pieces, starts, tuple(within), divided))
        within = [offset + size for offset, size in zip(within, sizes, strict=True)]
    return layouts


def _rows(
    lengths: npt.NDArray[np.int64], total: int, spec: TokenizerSpec, config: TokenizeConfig
) -> tuple[RowPieces, Divided]:
    """Rows of one split from its documents' tokens int64 [D] and the length of its stream."""
    payload = config.context_length - (spec.row_bos is not None)
    separated = spec.separator is not None
    ends = np.cumsum(lengths + separated)
    begins = ends - lengths - separated
    if config.packing == "concatenate":
        rows = ConcatenatedRows(total, payload, config.stride)
        row = np.maximum(0, -(-(begins + 1 - payload) // (payload - config.stride)))  # the first one that has the begin
        crossing = begins + lengths > row * (payload - config.stride) + payload
        return rows, Divided(int(crossing.sum()), 0, 0)
    pieces = document_pieces(lengths, begins, payload, config.truncation, config.truncation_side, config.stride)
    sizes = pieces.sizes(payload, separated)
    row = best_fit(sizes, payload) if config.packing == "best_fit" else np.arange(len(sizes))
    listed = list_rows(row, *pieces, sizes > pieces.length)
    longer = int((lengths > payload).sum())
    if config.truncation == "cut":
        return listed, Divided(0, longer, int(np.maximum(lengths - payload, 0).sum()))
    return listed, Divided(longer, 0, 0)


def row_length(layouts: Sequence[SplitLayout], spec: TokenizerSpec, config: TokenizeConfig) -> int:
    """Length of the rows as training reads them: that of the config, or of the longest row."""
    if config.padding == "max_length":
        return config.context_length
    return max(layout.pieces.longest for layout in layouts) + (spec.row_bos is not None)


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
