"""Best-fit decreasing: puts items into rows so that few positions stay empty. No item is split.

Items are taken from the longest to the shortest, equal ones in order; each goes into the row with the least room that
takes it (of equal ones the row that has had this room longest), or opens a row. Once a row has taken an item it has less
room than all others that would take another of that length, so it takes as many as it can in turn: items of one length
and rows of one room are handled together, and the work grows with the lengths that occur, not with the documents.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt


def best_fit(sizes: npt.NDArray[np.int64], room: int) -> npt.NDArray[np.int64]:
    """The row int64 [n] of each item of `sizes` int64 [n], each from 1 to `room`. Rows are numbered as they open."""
    # Small integers are sorted by their digits, in linear time.
    order = np.argsort((room - sizes).astype(np.uint16 if room < 1 << 16 else np.int64), kind="stable")
    row_of = np.empty(len(sizes), np.int64)
    rows = _Rows(room)
    ends = np.flatnonzero(np.diff(sizes[order], append=0)) + 1
    for start, stop in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        row_of[order[start:stop]] = rows.take(int(sizes[order[start]]), stop - start)
    return row_of


class _Rows:
    """Open rows by the room that they have left, those of one room in the order in which they came to it."""

    def __init__(self, room: int) -> None:
        self._whole = room
        self._opened = 0
        self._by_room: dict[int, deque[npt.NDArray[np.int64]]] = {}

    def take(self, size: int, count: int) -> npt.NDArray[np.int64]:
        """The rows int64 [count] of `count` items of one size."""
        found: list[npt.NDArray[np.int64]] = []
        for room in sorted(room for room in self._by_room if room >= size):
            waiting = self._by_room[room]
            while count and waiting:
                placed = self._fill(waiting.popleft(), room, size, count)
                found.append(placed)
                count -= len(placed)
            if not waiting:
                del self._by_room[room]
            if not count:
                break
        if count:
            opened = np.arange(-(-count // (self._whole // size)), dtype=np.int64) + self._opened
            self._opened += len(opened)
            found.append(self._fill(opened, self._whole, size, count))
        return np.concatenate(found)

    def _fill(self, rows: npt.NDArray[np.int64], room: int, size: int, count: int) -> npt.NDArray[np.int64]:
        """Puts up to `count` items into rows of one room, one row after the other."""
        each = room // size
        placed = np.repeat(rows[: -(-count // each)], each)[:count]
        full, rest = divmod(len(placed), each)
        self._keep(rows[:full], room - each * size)
        if rest:
            self._keep(rows[full : full + 1], room - rest * size)
        left = rows[full + bool(rest) :]
        if len(left):
            self._by_room.setdefault(room, deque()).appendleft(left)
        return placed

    def _keep(self, rows: npt.NDArray[np.int64], room: int) -> None:
        if len(rows) and room:
            self._by_room.setdefault(room, deque()).append(rows)
