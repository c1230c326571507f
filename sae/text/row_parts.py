"""Rows from the parts of flat token files that they hold: where each part lies, where it goes, and whose tokens it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sae.formats.tokens import Segments
from sae.text.flat_tokens import FlatTokens
from sae.text.ranges import ranges
from sae.text.row_pieces import Pieces
from sae.text.shard_layout import SplitLayout

Numbers = npt.NDArray[np.int64]


class Parts(NamedTuple):
    """Parts of pieces that lie in one flat file each, int64 [n]: tokens [begin, begin + length) of the file of `chunk`.

    They stand from `position` on in row `row`.
    """

    chunk: Numbers
    begin: Numbers
    length: Numbers
    row: Numbers
    position: Numbers


def parts_of(pieces: Pieces, position: Numbers, layout: SplitLayout) -> Parts:
    """The parts of pieces that stand at `position` int64 [pieces] of their rows. A piece may go over several chunks."""
    starts, within = np.asarray(layout.starts), np.asarray(layout.within)
    end = pieces.begin + pieces.length
    first = np.searchsorted(starts, pieces.begin, "right") - 1
    chunks = np.searchsorted(starts, end - 1, "right") - first
    piece, chunk = np.repeat(np.arange(len(end)), chunks), ranges(first, chunks)
    begin, stop = np.maximum(pieces.begin[piece], starts[chunk]), np.minimum(end[piece], starts[chunk + 1])
    found = Parts(
        chunk,
        begin - starts[chunk] + within[chunk],
        stop - begin,
        pieces.row[piece],
        position[piece] + begin - pieces.begin[piece],
    )
    some = found.length > 0  # a chunk without tokens of the split may lie between two others
    return found if some.all() else Parts(*(values[some] for values in found))


def by_chunk(parts: Parts, flat: Callable[[int], FlatTokens]) -> Iterator[tuple[Numbers, Parts, FlatTokens]]:
    """The numbers of the parts of each chunk, these parts, and the chunk's tokens."""
    order = np.argsort(parts.chunk, kind="stable")
    edges = np.flatnonzero(np.diff(parts.chunk[order])) + 1
    for index in np.split(order, edges):
        if len(index):
            yield index, Parts(*(values[index] for values in parts)), flat(int(parts.chunk[index[0]]))


class SegmentList:
    """The segments of rows, added by chunk."""

    def __init__(self) -> None:
        self._columns: list[tuple[Numbers, Numbers, Numbers, Numbers]] = []  # part, doc, start, offset
        self._metadata: list[pa.StructArray] = []

    def add(self, numbers: Numbers, parts: Parts, source: FlatTokens) -> None:
        """Adds the documents of parts of one chunk; `numbers` are those of the parts."""
        first = np.searchsorted(source.ends, parts.begin, "right") - 1
        counts = np.searchsorted(source.ends, parts.begin + parts.length, "left") - first
        document, part = ranges(first, counts), np.repeat(np.arange(len(counts)), counts)
        begins = source.ends[document]
        seen = np.maximum(begins, parts.begin[part])  # where the document begins in the part
        start = seen - parts.begin[part] + parts.position[part]
        self._columns.append((numbers[part], source.doc[document], start, seen - begins))
        if source.metadata is not None:
            self._metadata.append(source.metadata.take(pa.array(document)))

    def arrays(self, parts: Parts, rows: int) -> Segments:
        """The segments of all `rows` rows, which `parts` make up, in order."""
        part, doc, start, offset = (np.concatenate(columns) for columns in zip(*self._columns, strict=True))
        order = np.argsort(part, kind="stable")
        counts = np.bincount(parts.row[part], minlength=rows)
        return Segments(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
            doc[order],
            start[order].astype(np.int32),
            offset[order],
            pa.concat_arrays(self._metadata).take(pa.array(order)) if self._metadata else None,
        )
