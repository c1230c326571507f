"""What each row of a split holds: pieces of the split's stream of tokens.

Concatenated rows are computed from their number. The others are listed, and the list is a file that is read through
memory mapping: an Arrow file of one record batch, a row a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sae.text.ranges import ranges

_PIECE = pa.struct([("begin", pa.int64()), ("length", pa.int32()), ("repeated", pa.int32()), ("separated", pa.uint8())])
_SCHEMA = pa.schema([("pieces", pa.large_list(_PIECE))])


class Pieces(NamedTuple):
    """Pieces of some rows, in order: of row `row` the tokens [begin, begin + length) of the stream; int64 [n] each.

    The first `repeated` stand in an earlier row too. `separated`: 1 if a separator that the stream does not have here
    follows, else 0.
    """

    row: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    repeated: npt.NDArray[np.int64]
    separated: npt.NDArray[np.int64]


class Stretches(NamedTuple):
    """Stretches [begin, end) of the stream, int64 [n] each."""

    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]


class RowPieces(Protocol):
    """The pieces of each row; `rows` in all."""

    @property
    def rows(self) -> int: ...
    def sizes(self) -> npt.NDArray[np.int64]: ...
    def of_rows(self, rows: npt.NDArray[np.int64]) -> Pieces: ...


def own_tokens(pieces: Pieces) -> Stretches:
    """What the rows hold and do not repeat."""
    return Stretches(pieces.begin + pieces.repeated, pieces.begin + pieces.length)


class ConcatenatedRows(NamedTuple):
    """Rows that cut the whole stream of `total` tokens every `payload` tokens, `stride` of which are repeated."""

    total: int
    payload: int
    stride: int = 0

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return 1 + max(0, -(-(self.total - self.payload) // (self.payload - self.stride)))

    def sizes(self) -> npt.NDArray[np.int64]:
        """Positions int64 [rows] that each row's pieces take."""
        found = np.full(self.rows, self.payload, np.int64)
        found[-1] = self.total - (self.rows - 1) * (self.payload - self.stride)
        return found

    def of_rows(self, rows: npt.NDArray[np.int64]) -> Pieces:
        """The one piece of each of some rows."""
        begin = rows * (self.payload - self.stride)
        length, repeated = np.minimum(self.payload, self.total - begin), np.where(rows > 0, self.stride, 0)
        return Pieces(np.arange(len(rows)), begin, length, repeated, np.zeros_like(begin))


class ListedRows(NamedTuple):
    """Row r has the pieces [first[r], first[r + 1]): `first` int64 [rows + 1], the others [pieces]."""

    first: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int64]
    length: npt.NDArray[np.int32]
    repeated: npt.NDArray[np.int32]
    separated: npt.NDArray[np.uint8]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.first) - 1

    def sizes(self) -> npt.NDArray[np.int64]:
        """Positions int64 [rows] that each row's pieces take."""
        sizes: npt.NDArray[np.int64] = np.add.reduceat(self.length + self.separated.astype(np.int64), self.first[:-1])
        return sizes

    def of_rows(self, rows: npt.NDArray[np.int64]) -> Pieces:
        """The pieces of some rows, in order."""
        counts = np.diff(self.first)[rows]
        index = ranges(self.first[rows], counts)
        columns = (
            column[index].astype(np.int64) for column in (self.begin, self.length, self.repeated, self.separated)
        )
        return Pieces(np.repeat(np.arange(len(rows)), counts), *columns)

    def save(self, path: Path) -> None:
        """Writes the file that open_rows reads."""
        values = [pa.array(column) for column in (self.begin, self.length, self.repeated, self.separated)]
        pieces = pa.StructArray.from_arrays(values, fields=list(_PIECE))
        column = pa.LargeListArray.from_arrays(pa.array(self.first), pieces)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
            writer.write_batch(pa.record_batch([column], schema=_SCHEMA))


class MixedRows(NamedTuple):
    """The rows of several streams, one stream behind the other: `begins` is where each begins."""

    parts: tuple[ConcatenatedRows, ...]
    begins: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(part.rows for part in self.parts)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Positions int64 [rows] that each row's pieces take."""
        return np.concatenate([part.sizes() for part in self.parts])

    def of_rows(self, rows: npt.NDArray[np.int64]) -> Pieces:
        """The pieces of some rows, in order."""
        firsts = np.cumsum([0, *(part.rows for part in self.parts)])
        begin, length, repeated = (np.empty(len(rows), np.int64) for _ in range(3))
        for part, begins, first in zip(self.parts, self.begins, firsts[:-1], strict=True):
            here = (rows >= first) & (rows < first + part.rows)
            own = part.of_rows(rows[here] - first)
            begin[here], length[here], repeated[here] = own.begin + begins, own.length, own.repeated
        return Pieces(np.arange(len(rows)), begin, length, repeated, np.zeros_like(begin))


# Stands for rows that are listed in a file.
NO_ROWS = ListedRows(
    np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8)
)


def list_rows(
    row: npt.NDArray[np.int64],
    begin: npt.NDArray[np.int64],
    length: npt.NDArray[np.int64],
    repeated: npt.NDArray[np.int64],
    separated: npt.NDArray[np.bool_],
) -> ListedRows:
    """Rows from their pieces in the stream's order, each with the number of its row; every row has a piece."""
    order = np.argsort(row, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(row))]).astype(np.int64)
    return ListedRows(
        first,
        begin[order],
        length[order].astype(np.int32),
        repeated[order].astype(np.int32),
        separated[order].astype(np.uint8),
    )


def joined_rows(parts: Sequence[ConcatenatedRows | ListedRows], begins: Sequence[int]) -> RowPieces:
    """The rows of several streams that stand one behind the other, each at its place of `begins`; all of one kind."""
    if len(parts) == 1:
        return parts[0]
    concatenated = tuple(part for part in parts if isinstance(part, ConcatenatedRows))
    if concatenated:
        return MixedRows(concatenated, tuple(begins))
    listed = [part for part in parts if isinstance(part, ListedRows)]
    counts = np.concatenate([np.diff(part.first) for part in listed])
    return ListedRows(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([part.begin + begin for part, begin in zip(listed, begins, strict=True)]),
        *(np.concatenate([part[column] for part in listed]) for column in (2, 3, 4)),
    )


def open_rows(path: Path) -> ListedRows:
    """Maps a file of listed rows. Raises OSError or ArrowInvalid if it is none."""
    with pa.memory_map(str(path)) as source:
        column = pa.ipc.open_file(source).get_batch(0).column(0)
    fields = [column.values.field(name).to_numpy() for name in ("begin", "length", "repeated", "separated")]
    return ListedRows(column.offsets.to_numpy(), *fields)
