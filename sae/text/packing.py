"""Second pass of tokenizing: builds rows from flat token files, and writes one output shard of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from configs.tokenize import TokenizeConfig
from sae.formats.tokens import Role, Segments, Speaker, write_shard
from sae.text.flat_tokens import FlatTokens
from sae.text.row_pieces import Piece
from sae.text.shard_layout import Shard, SplitLayout
from sae.text.tokenizer_spec import TokenizerSpec

_OF_DOCUMENTS = (Role.DATA, Role.SPECIAL, Role.BOUNDARY)


class PackedRows(NamedTuple):
    """input_ids int32[n, L], roles uint8[n, L], the segments of each row, and speakers uint8[n, L] if there are chats."""

    input_ids: npt.NDArray[np.int32]
    roles: npt.NDArray[np.uint8]
    segments: Segments
    speakers: npt.NDArray[np.uint8] | None


class ShardCounts(NamedTuple):
    """Positions of a shard by role, and if there are chats the tokens of documents by speaker, without repeated ones."""

    roles: list[int]
    speakers: list[int]

    def add(self, other: ShardCounts) -> ShardCounts:
        """Those of two shards together."""
        return ShardCounts(*([a + b for a, b in zip(*pair, strict=True)] for pair in zip(self, other, strict=True)))


def pack_shard(
    shard: Shard,
    layout: SplitLayout,
    flat: Callable[[int], FlatTokens],
    spec: TokenizerSpec,
    length: int,
    config: TokenizeConfig,
    path: Path,
) -> ShardCounts:
    """Writes one output file of rows of `length` positions in shuffled order; returns what it holds.

    `flat(c)` gives the tokens of chunk c.
    """
    rows = layout.order(config.seed)[shard.start : shard.stop]
    padded = config.padding != "none"
    packed = pack_rows(rows, layout, flat, spec, length, padded and config.padding_side == "left")
    write_shard(path, shard.split, *packed, config.return_attention_mask, padded)
    counts = np.bincount(packed.roles.reshape(-1), minlength=len(Role))
    counts[Role.PAD] *= padded
    speakers = np.zeros(0, np.int64)
    if packed.speakers is not None:
        own = np.isin(packed.roles, _OF_DOCUMENTS)
        speakers = np.bincount(packed.speakers[own], minlength=len(Speaker))
    return ShardCounts(counts.tolist(), speakers.tolist())


def pack_rows(
    rows: npt.NDArray[np.int64],
    layout: SplitLayout,
    flat: Callable[[int], FlatTokens],
    spec: TokenizerSpec,
    length: int,
    pad_left: bool = False,
) -> PackedRows:
    """Rows with the original numbers `rows`, in that order. `flat(c)` gives the tokens of chunk c."""
    input_ids = np.full((len(rows), length), spec.pad_id, np.int32)
    roles = np.full((len(rows), length), Role.PAD, np.uint8)
    speakers: npt.NDArray[np.uint8] | None = None
    segments = _SegmentList()
    for i, row in enumerate(rows.tolist()):
        pieces = list(layout.pieces.of_row(row))
        position = 0
        if pad_left:
            position = length - sum(piece.length + piece.separated for piece in pieces) - (spec.row_bos is not None)
        if spec.row_bos is not None:
            input_ids[i, position], roles[i, position] = spec.row_bos, Role.BOS
            position += 1
        for piece in pieces:
            start = position
            for source, begin, end in _sources(piece, layout, flat):
                stop = position + end - begin
                input_ids[i, position:stop] = source.tokens[begin:end]
                roles[i, position:stop] = source.roles[begin:end]
                if source.speakers is not None:
                    speakers = np.zeros_like(roles) if speakers is None else speakers
                    speakers[i, position:stop] = source.speakers[begin:end]
                segments.add(source, begin, end, position)
                position = stop
            roles[i, start : start + piece.repeated] = Role.REPEATED
            if piece.separated and spec.separator is not None:
                input_ids[i, position], roles[i, position] = spec.separator, Role.SEPARATOR
                position += 1
        segments.end_row()
    return PackedRows(input_ids, roles, segments.arrays(), speakers)


def _sources(
    piece: Piece, layout: SplitLayout, flat: Callable[[int], FlatTokens]
) -> Iterator[tuple[FlatTokens, int, int]]:
    """Where a piece's tokens lie: a flat file and its tokens [begin, end). A piece may go over several chunks."""
    token, stop = piece.begin, piece.begin + piece.length
    while token < stop:
        chunk = bisect_right(layout.starts, token) - 1
        length = min(stop, layout.starts[chunk + 1]) - token
        begin = token - layout.starts[chunk] + layout.within[chunk]
        yield flat(chunk), begin, begin + length
        token += length


class _SegmentList:
    """Segments of rows that are added one after the other."""

    def __init__(self) -> None:
        self._docs: list[npt.NDArray[np.int64]] = []
        self._starts: list[npt.NDArray[np.int64]] = []
        self._offsets: list[npt.NDArray[np.int64]] = []
        self._metadata: list[pa.StructArray] = []
        self._splits = [0]
        self._count = 0

    def add(self, source: FlatTokens, begin: int, end: int, position: int) -> None:
        """Adds the documents of the flat tokens [begin, end), which stand at `position` of the row."""
        low = int(source.ends.searchsorted(begin, "right")) - 1
        high = int(source.ends.searchsorted(end, "left"))
        begins = source.ends[low:high]
        first = np.maximum(begins, begin)
        self._docs.append(source.doc[low:high])
        self._starts.append(first - begin + position)
        self._offsets.append(first - begins)
        if source.metadata is not None:
            self._metadata.append(source.metadata.slice(low, high - low))
        self._count += high - low

    def end_row(self) -> None:
        """Ends a row."""
        self._splits.append(self._count)

    def arrays(self) -> Segments:
        """The segments of all rows."""
        return Segments(
            np.asarray(self._splits, np.int64),
            np.concatenate(self._docs),
            np.concatenate(self._starts).astype(np.int32),
            np.concatenate(self._offsets),
            pa.concat_arrays(self._metadata) if self._metadata else None,
        )
