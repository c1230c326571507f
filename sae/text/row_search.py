"""Pages of rows of tokens: filtered by split and document, searched by token id or text, with roles and documents' borders."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sae.formats.artifact_files import ArtifactFilesLike
from sae.formats.tokens import SPLITS, Role, Speaker, TokensError, load_info, shard_name
from sae.quoting import quoted
from sae.report.token_text import TokenText
from sae.text.document_search import Found
from sae.text.text_search import SearchError, TextSearch


class RowQuery(NamedTuple):
    """Which rows: of `split`, with token id `token`, with a part of document `doc`, and with a match of `search`.

    The text of a row is that of all its tokens but padding.
    """

    split: str | None = None
    token: int | None = None
    doc: int | None = None
    search: TextSearch | None = None


class RowTexts:
    """The text of rows, of one tokenizer. Keeps the bytes of each token. Threads share it."""

    def __init__(self, tokens: TokenText) -> None:
        self._tokens = tokens
        self._pieces = np.zeros(0, object)

    def of(self, ids: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> pa.Array:
        """Text of rows one after another: `ids` int32 [n] are their tokens, `counts` int64 [rows] how many each has."""
        known = self._pieces
        if len(ids) and int(ids.max()) >= len(known):
            more = [self._tokens.piece(token) for token in range(len(known), int(ids.max()) + 1)]
            known = self._pieces = np.concatenate([known, np.array(more, object)])
        pieces = known[ids].tolist()
        ends = np.cumsum(counts).tolist()
        texts = [b"".join(pieces[end - count : end]) for end, count in zip(ends, counts.tolist(), strict=True)]
        return pa.array([text.decode("utf-8", "replace") for text in texts], pa.large_string())


def find_rows(
    files: ArtifactFilesLike,
    query: RowQuery,
    texts: RowTexts,
    start: int = 0,
    limit: int = 20,
    seconds: float | None = None,
) -> Found:
    """The first `limit` rows from number `start` that match. Rows are numbered over train, validation, test.

    An item has `split`, `row` (its number in the split), `ids`, `roles` and `speakers` (names) and `documents`: {"doc",
    "start", "stop", "offset"} for each part of a document, from row position `start` to before `stop`, the first of them
    token `offset` of document `doc`. Ends early after about `seconds`. Raises TokensError, SearchError.
    """
    info = load_info(files)
    present = [split for split in SPLITS if info.splits.get(split, {}).get("rows")]
    if query.split is not None and query.split not in present:
        raise SearchError(f"there are no rows of split {quoted(query.split)}; there are {', '.join(present)}")
    deadline = None if seconds is None else time.monotonic() + seconds
    total = sum(info.splits[split]["rows"] for split in present)
    items: list[dict[str, Any]] = []
    at, looked_at, first = start, 0, 0
    for split in present:
        n = info.splits[split]["rows"]
        if at < first + n and query.split in (None, split):
            at = max(at, first)
            for rows in _groups(files, split, info.rows_per_shard, n, at - first):
                found = _matching(rows, query, texts)[: limit - len(items)]
                items += [_item(rows, int(row), split) for row in found]
                full = len(items) == limit
                stop = rows.first + (int(found[-1]) + 1 if full else rows.table.num_rows)
                looked_at += first + stop - at
                at = first + stop
                if full or (deadline is not None and time.monotonic() >= deadline):
                    return Found(items, _next(query.split, split, at, first + n, total), looked_at, total)
        first += n
    return Found(items, None, looked_at, total)


def _next(wanted: str | None, split: str, at: int, end_of_split: int, total: int) -> int | None:
    """Where to go on from row `at`; None if no row can follow."""
    return at if at < (end_of_split if wanted == split else total) else None


class _Rows(NamedTuple):
    """Rows of a split from number `first` on, up to the end of their row group."""

    table: pa.Table
    first: int


def _groups(files: ArtifactFilesLike, split: str, rows_per_shard: int, n_rows: int, start: int) -> Iterator[_Rows]:
    """The rows of a split from one on, a row group at a time."""
    row = start
    while row < n_rows:
        number, within = divmod(row, rows_per_shard)
        path = files.path(shard_name(split, number))
        try:
            with pq.ParquetFile(path) as file:
                counts = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
                starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
                group = int(np.searchsorted(starts, within, "right")) - 1
                table = file.read_row_group(group).slice(within - int(starts[group]))
        except (OSError, pa.ArrowException, IndexError) as error:
            raise TokensError(f"cannot read rows of {shard_name(split, number)}: {error}; tokenize again") from None
        yield _Rows(table, row)
        row += table.num_rows


def _matching(rows: _Rows, query: RowQuery, texts: RowTexts) -> npt.NDArray[np.int64]:
    """Rows of the table that match, ascending."""
    n = rows.table.num_rows
    alive = np.ones(n, bool)
    if query.doc is not None:
        lists = rows.table.column("segments").combine_chunks()
        docs = lists.flatten().field("doc").to_numpy()
        alive &= _any(docs == query.doc, lists)
    if query.token is None and query.search is None:
        return np.flatnonzero(alive)
    lists = rows.table.column("input_ids").combine_chunks()
    ids = lists.flatten().to_numpy()
    own = rows.table.column("roles").combine_chunks().flatten().to_numpy() != Role.PAD
    if query.token is not None:
        alive &= _any((ids == query.token) & own, lists)
    if query.search is not None and alive.any():
        lengths = np.diff(lists.offsets.to_numpy())
        own &= np.repeat(alive, lengths)
        counts = np.bincount(np.repeat(np.arange(n), lengths)[own], minlength=n)
        alive &= np.asarray(query.search.matches(texts.of(ids[own], counts)))
    return np.flatnonzero(alive)


def _any(found: npt.NDArray[np.bool_], lists: pa.ListArray) -> npt.NDArray[np.bool_]:
    """Whether any value of each list is True."""
    offsets = lists.offsets.to_numpy()
    upto = np.concatenate([[0], np.cumsum(found)])
    more: npt.NDArray[np.bool_] = upto[offsets[1:] - offsets[0]] > upto[offsets[:-1] - offsets[0]]
    return more


def _item(rows: _Rows, index: int, split: str) -> dict[str, Any]:
    row = rows.table.slice(index, 1).to_pylist()[0]
    roles = row["roles"]
    end = max((position + 1 for position, role in enumerate(roles) if role != Role.PAD), default=0)
    segments = row["segments"]
    stops = [segment["start"] for segment in segments[1:]] + [end]
    return {
        "split": split,
        "row": rows.first + index,
        "ids": row["input_ids"],
        "roles": [Role(role).name.lower() for role in roles],
        "speakers": [Speaker(speaker).name.lower() for speaker in row.get("speakers") or [Speaker.NONE] * len(roles)],
        "documents": [
            {"doc": segment["doc"], "start": segment["start"], "stop": stop, "offset": segment["offset"]}
            for segment, stop in zip(segments, stops, strict=True)
        ],
    }
