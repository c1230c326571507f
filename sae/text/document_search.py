"""Pages of a dataset's documents: filtered by split and columns, searched, with how much was looked at.

Parquet is read a few row groups at a time (1 MiB of text each), first the columns that filters name, then the text of row
groups that still have candidates, and whole rows of matches alone. So the memory does not grow with the dataset. A substring
reads only the row groups that the index of grams leaves (`sae/formats/gram_index.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sae.formats.dataset import OWN_COLUMNS, DatasetReader
from sae.quoting import listed, quoted
from sae.text.text_search import SearchError, TextSearch

_MOST_GROUPS = 8  # read at once; a page begins with one, as its matches may be near


class DocumentQuery(NamedTuple):
    """Which documents: of `split`, with the values of columns that `where` names, and with a match of `search`."""

    split: str | None = None
    where: tuple[tuple[str, str], ...] = ()
    search: TextSearch | None = None


class Found(NamedTuple):
    """A page. `items` are what matches, in order; `next` is where to go on, None at the end.

    `looked_at` items were looked at for this page, the last one before `next`, of `total` in all.
    """

    items: list[dict[str, Any]]
    next: int | None
    looked_at: int
    total: int


def parse_where(conditions: Sequence[str], columns: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Conditions `COLUMN=VALUE` as pairs. The name of a column may hold `=`. Raises SearchError for an unknown column."""
    columns = [name for name in columns if name not in OWN_COLUMNS]  # messages are no text
    found = []
    for condition in conditions:
        names = [name for name in columns if condition.startswith(f"{name}=")]
        if not names:
            raise SearchError(
                f"{quoted(condition)} is no condition COLUMN=VALUE on a column of this dataset; it has "
                f"{listed(columns) if columns else 'no columns beside the text'}"
            )
        name = max(names, key=len)
        found.append((name, condition[len(name) + 1 :]))
    return tuple(found)


def find_documents(
    reader: DatasetReader, query: DocumentQuery, start: int = 0, limit: int = 20, seconds: float | None = None
) -> Found:
    """The first `limit` documents from number `start` that match, as rows with all their columns.

    Ends early after about `seconds`, with what was found by then. Raises DatasetError for files that cannot be read.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    total = reader.info.documents
    items: list[dict[str, Any]] = []
    at = start
    grams = query.search.grams if query.search is not None else []
    first = 0
    for name, count in reader.info.files.items():
        if at < first + count:
            possible = reader.groups_with(name, grams)
            if possible is None or possible.any():
                with reader.open(name) as file:
                    parts = _parts(file, max(0, at - first), possible)
                    found, row, ended = _search(parts, query, limit - len(items), deadline)
                items += found
                at = first + row
                if ended:
                    break
            else:
                at = first + count
        first += count
    return Found(items, at if at < total else None, max(0, at - start), total)


class _Part(NamedTuple):
    """Rows [start, stop) of a file, and which row groups of theirs may have a match.

    `starts` has the first row of each row group of the file, and the number of all rows.
    """

    file: pq.ParquetFile
    groups: list[int]
    starts: npt.NDArray[np.int64]
    start: int
    stop: int

    def rows(self, groups: Sequence[int]) -> npt.NDArray[np.int64]:
        """Numbers of the rows in row groups."""
        return np.concatenate([np.arange(self.starts[group], self.starts[group + 1]) for group in groups])


def _parts(file: pq.ParquetFile, row: int, possible: npt.NDArray[np.bool_] | None) -> Iterator[_Part]:
    """A file from a row on, in parts of one row group, then two, four and so on; of those that are `possible`."""
    counts = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    group, size = int(np.searchsorted(starts, row, "right")) - 1, 1
    while group < len(counts):
        end = min(group + size, len(counts))
        yield _Part(
            file, [one for one in range(group, end) if possible is None or possible[one]], starts, row, int(starts[end])
        )
        group, row, size = end, int(starts[end]), min(2 * size, _MOST_GROUPS)


def _search(
    parts: Iterator[_Part], query: DocumentQuery, limit: int, deadline: float | None
) -> tuple[list[dict[str, Any]], int, bool]:
    """The matches of a file, the row after the last one that was looked at, and whether the page ends there."""
    items: list[dict[str, Any]] = []
    stop = 0
    for part in parts:
        rows = _matching(part, query)[: limit - len(items)]
        items += _whole(part, rows)
        if len(items) == limit:
            return items, int(rows[-1]) + 1, True
        stop = part.stop
        if deadline is not None and time.monotonic() >= deadline:
            return items, stop, True
    return items, stop, False


def _matching(part: _Part, query: DocumentQuery) -> npt.NDArray[np.int64]:
    """Rows of the file that match, ascending."""
    alive = np.zeros(int(part.starts[-1]), bool)
    for group in part.groups:
        alive[max(part.start, part.starts[group]) : part.starts[group + 1]] = True
    equal = [("split", query.split)] if query.split is not None else []
    conditions = [*equal, *query.where]
    if conditions:
        _filter(part, alive, [name for name, _ in conditions], lambda table: _equal(table, conditions))
    if query.search is not None:
        search = query.search
        _filter(part, alive, ["text"], lambda table: search.matches(table.column("text")))
    return np.flatnonzero(alive)


def _filter(part: _Part, alive: npt.NDArray[np.bool_], columns: list[str], matches: Any) -> None:
    """Clears `alive` of rows that do not match; reads the row groups that have rows alive."""
    groups = [group for group in part.groups if alive[part.starts[group] : part.starts[group + 1]].any()]
    if not groups:
        return
    known = [name for name in columns if name in part.file.schema_arrow.names]
    rows = part.rows(groups)
    rows_alive = alive[rows]
    table = part.file.read_row_groups(groups, columns=known)
    if not rows_alive.all():
        table = table.filter(pa.array(rows_alive))
    found = pc.fill_null(matches(table), False)
    alive[rows[rows_alive]] = np.asarray(found)


def _equal(table: pa.Table, conditions: Sequence[tuple[str, str | None]]) -> pa.ChunkedArray:
    found = pa.chunked_array([pa.array(np.ones(table.num_rows, bool))])
    for name, value in conditions:
        if name not in table.column_names:  # of another file of the dataset
            return pa.chunked_array([pa.array(np.zeros(table.num_rows, bool))])
        column = table.column(name)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise SearchError(f"column {quoted(name)} holds {column.type}, not text: it cannot be filtered by a value")
        found = pc.and_(found, pc.equal(column, value))
    return found


def _whole(part: _Part, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Whole rows of the file by their numbers."""
    if not len(rows):
        return []
    groups = sorted(set((np.searchsorted(part.starts, rows, "right") - 1).tolist()))
    table = part.file.read_row_groups(groups)
    found: list[dict[str, Any]] = table.take(pa.array(np.searchsorted(part.rows(groups), rows))).to_pylist()
    return found
