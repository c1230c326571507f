"""Where each token goes: prefix sums over chunks give rows, a seeded permutation gives their order, rows give shards.

The stream of a split is all its documents in order, each followed by its separator. What a row holds of it follows from
the number of tokens in each document and the config. Nothing here depends on workers.
"""

from __future__ import annotations

import itertools
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
from sae.text.mixture import mixture_rows
from sae.text.row_pieces import NO_ROWS, ConcatenatedRows, ListedRows, RowPieces, joined_rows, list_rows, own_tokens
from sae.text.tokenizer_spec import TokenizeError, TokenizerSpec

_ROWS_AT_ONCE = 1 << 18  # whose documents are counted


class SplitLayout(NamedTuple):
    """One split: its rows, and where each chunk's tokens lie.

    Chunk c holds the stream's tokens [starts[c], starts[c+1]), and they begin at token within[c] of its flat file. The
    files hold `rows` of the rows of `pieces`, the longest of which takes `longest` positions: of each dataset d the first
    `taken[d]` of its `given[d]` rows in shuffled order, and these shuffled again.
    """

    split: str
    pieces: RowPieces
    starts: tuple[int, ...]
    within: tuple[int, ...]
    rows: int
    longest: int
    documents: RowDocuments
    given: tuple[int, ...]
    taken: tuple[int, ...]

    def order(self, seed: int) -> npt.NDArray[np.int64]:
        """Which row of `pieces` is at each index of the files: int64 [rows]."""
        return chosen_rows(self.split, self.given, self.taken, seed)


class Shard(NamedTuple):
    """One output file: rows [start, stop) of a split, in shuffled order."""

    split: str
    number: int
    start: int
    stop: int


def split_layouts(
    counts: Sequence[ChunkCounts], spec: TokenizerSpec, config: TokenizeConfig, chunks: Sequence[int] | None = None
) -> list[SplitLayout]:
    """The layout of every split that has tokens. `chunks`: how many of the counts are of each dataset of a mixture.

    Raises TokenizeError for a document that the config refuses, and where its limits leave no row.
    """
    layouts = []
    within = [0] * len(counts)
    edges = np.concatenate([[0], np.cumsum([len(counts)] if chunks is None else chunks)]).tolist()
    for split in SPLITS:
        parts = [chunk.splits.get(split) for chunk in counts]
        sizes = [0 if part is None else part.stream for part in parts]
        starts = (0, *np.cumsum(sizes, dtype=np.int64).tolist())
        if starts[-1]:
            lengths = [
                np.frombuffer(b"".join(p.document_tokens for p in parts[first:stop] if p), "<i4").astype(np.int64)
                for first, stop in itertools.pairwise(edges)
            ]
            layouts.append(_layout(split, starts, tuple(within), lengths, spec, config))
        within = [offset + size for offset, size in zip(within, sizes, strict=True)]
    return layouts


def _layout(
    split: str,
    starts: tuple[int, ...],
    within: tuple[int, ...],
    lengths: Sequence[npt.NDArray[np.int64]],
    spec: TokenizerSpec,
    config: TokenizeConfig,
) -> SplitLayout:
    """The layout of one split from the tokens int64 [D] of the documents of each dataset."""
    bos, separated = spec.row_bos is not None, spec.separator is not None
    parts = [_pieces(own, config.context_length - bos, separated, config) if len(own) else NO_ROWS for own in lengths]
    some = [i for i, own in enumerate(lengths) if len(own)]
    totals = [int(own.sum()) + separated * len(own) for own in lengths]
    begins = [sum(totals[:i]) for i in some]
    pieces = joined_rows([parts[i] for i in some], begins)
    given = tuple(part.rows for part in parts)
    taken = _wanted([part.sizes() + bos if part.rows else np.zeros(0, np.int64) for part in parts], split, config)
    order = chosen_rows(split, given, taken, config.seed)
    stretches = (own_tokens(pieces.of_rows(order[i : i + _ROWS_AT_ONCE])) for i in range(0, len(order), _ROWS_AT_ONCE))
    every = lengths[0] if len(lengths) == 1 else np.concatenate(lengths)
    begins_of_documents = np.cumsum(every + separated)
    begins_of_documents -= every + separated
    documents = documents_of_rows(stretches, every, begins_of_documents)
    longest = int((pieces.sizes()[order] + bos).max())
    return SplitLayout(split, pieces, starts, within, len(order), longest, documents, given, taken)


def _pieces(
    lengths: npt.NDArray[np.int64], payload: int, separated: bool, config: TokenizeConfig
) -> ConcatenatedRows | ListedRows:
    """The rows of one dataset's stream, which its documents of `lengths` tokens int64 [D] make up."""
    ends = np.cumsum(lengths + separated)
    if config.packing == "concatenate":
        return ConcatenatedRows(int(ends[-1]), payload, config.stride)
    begins = ends - lengths - separated
    pieces = document_pieces(lengths, begins, payload, config.truncation, config.truncation_side, config.stride)
    sizes = pieces.sizes(payload, separated)
    row = best_fit(sizes, payload) if config.packing == "best_fit" else np.arange(len(sizes))
    return list_rows(row, *pieces, sizes > pieces.length)


def _wanted(sizes: Sequence[npt.NDArray[np.int64]], split: str, config: TokenizeConfig) -> tuple[int, ...]:
    """How many rows of each dataset the config wants. `sizes`: tokens of each dataset's rows."""
    if len(sizes) == 1 and config.max_tokens is None:
        return (min(len(sizes[0]), config.max_rows or len(sizes[0])),)
    shuffled = [own[_row_order(split, i, len(sizes), len(own), config.seed)] for i, own in enumerate(sizes)]
    if len(sizes) > 1:
        return tuple(mixture_rows(shuffled, config.weights, split, config.max_rows, config.max_tokens))
    rows = min(len(sizes[0]), config.max_rows or len(sizes[0]))
    if config.max_tokens is not None:
        rows = min(rows, int(np.searchsorted(np.cumsum(shuffled[0]), config.max_tokens, "right")))
        if not rows:
            raise TokenizeError(
                f"max_tokens {config.max_tokens:,} is less than the {int(shuffled[0][0]):,} tokens of the first row of "
                f"split {split}: set it to that at least"
            )
    return (rows,)


@lru_cache(maxsize=4)
def chosen_rows(split: str, given: tuple[int, ...], taken: tuple[int, ...], seed: int) -> npt.NDArray[np.int64]:
    """The numbers int64 of the rows of one split in the order of its files, see SplitLayout."""
    chosen, first = [], 0
    for number, (rows, count) in enumerate(zip(given, taken, strict=True)):
        chosen.append(_row_order(split, number, len(given), rows, seed)[:count] + first)
        first += rows
    order = np.concatenate(chosen)
    if len(given) > 1:
        order = order[row_order(split, len(order), seed)]
    order.setflags(write=False)
    return order


def _row_order(split: str, number: int, datasets: int, rows: int, seed: int) -> npt.NDArray[np.int64]:
    """The shuffled order of one dataset's rows. A mixture shuffles each dataset in a way of its own."""
    return row_order(split, rows, seed, number + 1 if datasets > 1 else None)


def row_length(layouts: Sequence[SplitLayout], config: TokenizeConfig) -> int:
    """Length of the rows as training reads them: that of the config, or of the longest row."""
    return config.context_length if config.padding == "max_length" else max(layout.longest for layout in layouts)


def split_shards(layout: SplitLayout, rows_per_shard: int) -> list[Shard]:
    """The output files of a split: `rows_per_shard` rows each, the last one the rest."""
    starts = range(0, layout.rows, rows_per_shard)
    return [Shard(layout.split, i, s, min(s + rows_per_shard, layout.rows)) for i, s in enumerate(starts)]


@lru_cache(maxsize=4)
def row_order(split: str, rows: int, seed: int, dataset: int | None = None) -> npt.NDArray[np.int64]:
    """A permutation of `rows` rows from (seed, split), and the number of the dataset in a mixture.

    The order of raw PCG64 words, which NumPy promises not to change (unlike Generator.permutation).
    """
    entropy = [seed, SPLITS.index(split), *([] if dataset is None else [dataset])]
    order = np.argsort(np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(rows), kind="stable")
    order.setflags(write=False)
    return order
