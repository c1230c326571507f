"""Second pass of tokenizing: builds rows from flat token files, and writes one output shard of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.formats.tokens import Role, Segments, write_shard
from sae.text.flat_tokens import FlatTokens
from sae.text.shard_layout import Shard, SplitLayout, row_order
from sae.text.tokenizer_spec import TokenizerSpec


class PackedRows(NamedTuple):
    """input_ids int32[n, L], roles uint8[n, L], and the segments of each row."""

    input_ids: npt.NDArray[np.int32]
    roles: npt.NDArray[np.uint8]
    segments: Segments


def pack_shard(
    shard: Shard,
    layout: SplitLayout,
    flat: Callable[[int], FlatTokens],
    spec: TokenizerSpec,
    context_length: int,
    seed: int,
    attention_mask: bool,
    path: Path,
) -> None:
    """Writes one output file of packed rows in shuffled order. `flat(c)` gives the tokens of chunk c."""
    rows = row_order(layout.split, layout.rows, seed)[shard.start : shard.stop]
    packed = pack_rows(rows, layout, flat, spec, context_length)
    write_shard(path, shard.split, packed.input_ids, packed.roles, packed.segments, attention_mask)


def pack_rows(
    rows: npt.NDArray[np.int64],
    layout: SplitLayout,
    flat: Callable[[int], FlatTokens],
    spec: TokenizerSpec,
    context_length: int,
) -> PackedRows:
    """Rows with the original numbers `rows`, in that order. `flat(c)` gives the tokens of chunk c."""
    first = 0 if spec.row_bos is None else 1
    payload = context_length - first
    input_ids = np.full((len(rows), context_length), spec.pad_id, np.int32)
    roles = np.full((len(rows), context_length), Role.PAD, np.uint8)
    if spec.row_bos is not None:
        input_ids[:, 0], roles[:, 0] = spec.row_bos, Role.BOS
    docs: list[npt.NDArray[np.int64]] = []
    starts: list[npt.NDArray[np.int64]] = []
    offsets: list[npt.NDArray[np.int64]] = []
    splits = [0]
    for i, row in enumerate(rows.tolist()):
        position, count = first, 0
        token, stop = row * payload, min((row + 1) * payload, layout.starts[-1])
        while token < stop:
            chunk = bisect_right(layout.starts, token) - 1
            length = min(stop, layout.starts[chunk + 1]) - token
            source = flat(chunk)
            begin = token - layout.starts[chunk] + layout.within[chunk]
            input_ids[i, position : position + length] = source.tokens[begin : begin + length]
            roles[i, position : position + length] = source.roles[begin : begin + length]
            doc, start, offset = _segments(source, begin, begin + length)
            docs.append(doc)
            starts.append(start + position)
            offsets.append(offset)
            count += len(doc)
            position += length
            token += length
        splits.append(splits[-1] + count)
    segments = Segments(
        np.asarray(splits, np.int64),
        np.concatenate(docs),
        np.concatenate(starts).astype(np.int32),
        np.concatenate(offsets),
    )
    return PackedRows(input_ids, roles, segments)


def _segments(
    source: FlatTokens, begin: int, end: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Documents of the flat tokens [begin, end): number, position of its first token in the range, that token's offset."""
    low = int(np.searchsorted(source.ends, begin, "right")) - 1
    high = int(np.searchsorted(source.ends, end, "left"))
    begins = source.ends[low:high]
    position = np.maximum(begins, begin)
    return source.doc[low:high], position - begin, position - begins
