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
from sae.text.documents_of_rows import RowDocuments, documents_of_rows
from sae.text.flat_tokens import ChunkCounts
from sae.text.row_pieces import ConcatenatedRows, RowPieces, list_rows
from sae.text.tokenizer_spec import TokenizeError, TokenizerSpec


class SplitLayout(NamedTuple):
    """One split: its rows, and where each chunk's tokens lie.

    Chunk c holds the stream's tokens [starts[c], starts[c+1]), and they begin at token within[c] of its flat file. The
    files hold the first `rows` of the `pieces.rows` rows in shuffled order; the longest takes `longest` positions.
    """

    split: str
    pieces: RowPieces
    starts: tuple[int, ...]
    within: tuple[int, ...]
    rows: int
    longest: int
    documents: RowDocuments


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
            layouts.append(_layout(split, starts, tuple(within), lengths, spec, config))
        within = [offset + size for offset, size in zip(within, sizes, strict=True)]
    return layouts


def _layout(
    split: str,
    starts: tuple[int, ...],
    within: tuple[int, ...],
    lengths: npt.NDArray[np.int64],
    spec: TokenizerSpec,
    config: TokenizeConfig,
) -> SplitLayout:
    """The layout of one split from its documents' tokens int64 [D]."""
    bos, separated = spec.row_bos is not None, spec.separator is not None
    payload = config.context_length - bos
    ends = np.cumsum(lengths + separated)
    begins = ends - lengths - separated
    pieces = _pieces(lengths, begins, int(ends[-1]), payload, separated, config)
    order = row_order(split, pieces.rows, config.seed)
    sizes = pieces.sizes()[order] + bos
    rows = _wanted(sizes, split, config)
    documents = documents_of_rows(pieces.own_tokens(order[:rows]), lengths, begins)
    return SplitLayout(split, pieces, starts, within, rows, int(sizes[:rows].max()), documents)


def _pieces(
    lengths: npt.NDArray[np.int64],
    begins: npt.NDArray[np.int64],
    total: int,
    payload: int,
    separated: bool,
    config: TokenizeConfig,
) -> RowPieces:
    if config.packing == "concatenate":
        return ConcatenatedRows(total, payload, config.stride)
    pieces = document_pieces(lengths, begins, payload, config.truncation, config.truncation_side, config.stride)
    sizes = pieces.sizes(payload, separated)
    row = best_fit(sizes, payload) if config.packing == "best_fit" else np.arange(len(sizes))
    return list_rows(row, *pieces, sizes > pieces.length)


def _wanted(sizes: npt.NDArray[np.int64], split: str, config: TokenizeConfig) -> int:
    """How many of the rows, whose `sizes` are in shuffled order, the config wants."""
    rows = min(len(sizes), config.max_rows or len(sizes))
    if config.max_tokens is not None:
        rows = min(rows, int(np.searchsorted(np.cumsum(sizes), config.max_tokens, "right")))
        if not rows:
            raise TokenizeError(
                f"max_tokens {config.max_tokens:,} is less than the {int(sizes[0]):,} tokens of the first row of split "
                f"{split}: set it to that at least"
            )
    return rows


def row_length(layouts: Sequence[SplitLayout], config: TokenizeConfig) -> int:
    """Length of the rows as training reads them: that of the config, or of the longest row."""
    return config.context_length if config.padding == "max_length" else max(layout.longest for layout in layouts)


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
