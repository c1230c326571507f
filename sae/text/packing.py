"""Second pass of tokenizing: builds rows from flat token files, and writes one output shard of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from configs.tokenize import TokenizeConfig
from sae.formats.tokens import Role, Segments, Speaker, write_shard
from sae.text.flat_tokens import FlatTokens
from sae.text.ranges import ranges
from sae.text.row_parts import SegmentList, by_chunk, parts_of
from sae.text.row_pieces import Pieces
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
    pieces, segments = layout.pieces.of_rows(rows), SegmentList()
    begins, position = _positions(pieces, len(rows), length, spec.row_bos is not None, pad_left)
    if spec.row_bos is not None:
        np.put_along_axis(input_ids, begins[:, None], spec.row_bos, 1)
        np.put_along_axis(roles, begins[:, None], Role.BOS, 1)
    all_ids, all_roles = input_ids.reshape(-1), roles.reshape(-1)
    parts = parts_of(pieces, position, layout)
    for numbers, own, source in by_chunk(parts, flat):
        taken, places = ranges(own.begin, own.length), ranges(own.row * length + own.position, own.length)
        all_ids[places], all_roles[places] = source.tokens[taken], source.roles[taken]
        if source.speakers is not None:
            speakers = np.zeros_like(roles) if speakers is None else speakers
            speakers.reshape(-1)[places] = source.speakers[taken]
        segments.add(numbers, own, source)
    place = pieces.row * length + position
    all_roles[ranges(place, pieces.repeated)] = Role.REPEATED
    if spec.separator is not None:
        ends = (place + pieces.length)[pieces.separated > 0]
        all_ids[ends], all_roles[ends] = spec.separator, Role.SEPARATOR
    return PackedRows(input_ids, roles, segments.arrays(parts, len(rows)), speakers)


def _positions(
    pieces: Pieces, rows: int, length: int, has_bos: bool, pad_left: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each row's tokens begin, int64 [rows], its BOS among them, and where each piece does, int64 [pieces]."""
    sizes = pieces.length + pieces.separated
    before = np.cumsum(sizes) - sizes
    counts = np.bincount(pieces.row, minlength=rows)
    first = np.cumsum(counts) - counts  # piece of each row
    begins = np.zeros(rows, np.int64)
    if pad_left:
        begins += length - has_bos - np.add.reduceat(sizes, first)
    return begins, before - before[first][pieces.row] + begins[pieces.row] + has_bos
