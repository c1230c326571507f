"""The `tokens` artifact: Parquet shards of rows, and `tokens.json` that describes them.

A shard `train-00000.parquet` holds exactly `rows_per_shard` rows of one split (the last shard fewer), in the order in
which training reads them. Columns:

| column | type | meaning |
|---|---|---|
| input_ids | list<int32>, `context_length` long (with `padding: none` as long as the row) | token ids |
| roles | list<uint8>, same length | a `Role` for each token |
| speakers | list<uint8>, same length, only if a dataset has chats | a `Speaker` for each token |
| segments | list<struct<doc: int64, start: int32, offset: int64>> | the row's documents, see below |
| split | string | train, validation or test |
| metadata | list<struct<large_string ...>>, only if the config keeps columns | the dataset's columns, for each segment |
| attention_mask | list<uint8>, only if the config wants it | 0 on padding, else 1 |

From row position `start` of a segment up to the next one are the tokens of document `doc`, the first of them being
token `offset` of that document. The separator that follows a document belongs to it. `context_length` of `tokens.json`
is the length of the rows as TokensReader gives them: that of the config, or of the longest row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from configs.data_positions import SPEAKERS, SpeakerName
from configs.tokenize import Attention, Side
from sae.formats.artifact_files import ArtifactFilesLike

TOKENS_JSON = "tokens.json"
SPLITS = ("train", "validation", "test")
ROW_GROUP = 512  # rows; what is read from the disk at once
_CACHED_BYTES = 64 << 20  # of rows that a reader keeps
_BYTES_PER_TOKEN = 14  # in memory: id, role, document, speaker

_SEGMENT = pa.struct([("doc", pa.int64()), ("start", pa.int32()), ("offset", pa.int64())])


class TokensError(ValueError):
    """A tokens artifact that cannot be used; the message says which file and what would be right."""


class Role(IntEnum):
    """Where a token comes from. Decided when the row is made, never guessed from ids later."""

    DATA = 0
    BOS = 1
    SPECIAL = 2
    SEPARATOR = 3
    PAD = 4
    BOUNDARY = 5  # BOS, EOS or PAD inside a document's own text: never data
    REPEATED = 6  # stands in another row too, where it counts; here it is context alone


# Only in memory, in place of DATA or SPECIAL: a token of a speaker that the data policy leaves out.
OTHER_SPEAKER = len(Role)


class Speaker(IntEnum):
    """Who wrote a token of a chat; one with characters of two is the template's. The names are SPEAKERS, by code."""

    NONE = 0  # of a document that is no chat, or put into the row
    SYSTEM = 1
    USER = 2
    ASSISTANT = 3
    TOOL = 4
    THINKING = 5
    TEMPLATE = 6


class TokenRows(NamedTuple):
    """Rows in order: input_ids int32[n, L], roles uint8[n, L], document int64[n, L], speakers uint8[n, L].

    `document` is -1 at a row's own BOS and at padding. `speakers` is all NONE where no dataset has chats.
    """

    input_ids: npt.NDArray[np.int32]
    roles: npt.NDArray[np.uint8]
    document: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.uint8]

    def part(self, start: int, stop: int) -> TokenRows:
        """Rows [start, stop) of these."""
        part = slice(start, stop)
        return TokenRows(self.input_ids[part], self.roles[part], self.document[part], self.speakers[part])

    def attention_groups(self, attention: Attention, padding_side: Side) -> npt.NDArray[np.int64] | None:
        """Groups int64 [n, L] that attention stays inside, as LanguageModel takes them; None if it sees all before it.

        Padding on the left is a group of its own: what follows neither sees it nor counts its positions. Padding on the
        right needs none, as nothing is behind it. Whether there are groups depends on no row, so that a row gives the
        same values in any batch.
        """
        if padding_side == "right":
            return self.document if attention == "document" else None
        padding = self.roles == Role.PAD
        groups: npt.NDArray[np.int64] = padding.astype(np.int64)
        if attention == "row":
            return groups
        groups = np.where(padding, -2, self.document)
        bos = groups[:, :-1] == -1  # the row's own belongs to the document behind it
        groups[:, :-1][bos] = groups[:, 1:][bos]
        return groups


class Segments(NamedTuple):
    """Segments of n rows: those of row i are `[splits[i], splits[i+1])` of doc int64, start int32, offset int64.

    `metadata`: a struct of texts for each segment, where the config keeps columns of the dataset.
    """

    splits: npt.NDArray[np.int64]
    doc: npt.NDArray[np.int64]
    start: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    metadata: pa.StructArray | None = None


@dataclass(frozen=True)
class TokensInfo:
    """What `tokens.json` says. `splits[name]` holds rows, tokens, roles (count by role), documents and shards.

    If a dataset has chats, it holds `speakers` too: the tokens of documents by speaker.
    """

    context_length: int
    attention: Attention
    separator: str
    bos: bool  # whether each row begins with BOS
    rows_per_shard: int
    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    pad_id: int
    splits: dict[str, dict[str, Any]]
    statistics: dict[str, Any] = field(default_factory=dict)
    packing: str = "concatenate"
    truncation: str = "overflow"
    truncation_side: Side = "right"
    stride: int = 0
    padding: str = "max_length"
    padding_side: Side = "right"
    # Of a mixture: each dataset as {dataset, weight, first_document}, the number that its documents count from.
    mixture: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes `tokens.json`."""
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_info(files: ArtifactFilesLike) -> TokensInfo:
    """Reads `tokens.json`. Raises TokensError if it is missing or not one."""
    if TOKENS_JSON not in files.names:
        raise TokensError(
            f"these are not tokens: there is no {TOKENS_JSON} among {', '.join(files.names) or 'no files'}"
        )
    path = files.path(TOKENS_JSON)
    try:
        return TokensInfo(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise TokensError(f"{path} is not a description of tokens: {error}") from None


def shard_name(split: str, number: int) -> str:
    """Name of a shard, for example `train-00000.parquet`."""
    return f"{split}-{number:05d}.parquet"


def write_shard(
    path: Path,
    split: str,
    input_ids: npt.NDArray[np.int32],
    roles: npt.NDArray[np.uint8],
    segments: Segments,
    speakers: npt.NDArray[np.uint8] | None = None,
    attention_mask: bool = False,
    padded: bool = True,
) -> None:
    """Writes rows [n, L] as one shard. Equal rows give equal bytes: all settings are fixed here.

    `speakers` uint8 [n, L] only where a dataset has chats. Not `padded`: without the padding, which must then be at the end
    of rows.
    """
    n, length = input_ids.shape
    kept = roles != Role.PAD
    widths = np.full(n, length) if padded else kept.sum(1)
    rows = pa.array(np.concatenate([[0], np.cumsum(widths)]).astype(np.int32))

    def values(of: npt.NDArray[Any]) -> pa.ListArray:
        return pa.ListArray.from_arrays(rows, pa.array(of.reshape(-1) if padded else of[kept]))

    records = pa.StructArray.from_arrays(
        [pa.array(segments.doc), pa.array(segments.start), pa.array(segments.offset)], fields=list(_SEGMENT)
    )
    columns = {
        "input_ids": values(input_ids),
        "roles": values(roles),
        "segments": pa.ListArray.from_arrays(pa.array(segments.splits.astype(np.int32)), records),
        "split": pa.array([split] * n, pa.string()),
    }
    if speakers is not None:
        columns["speakers"] = values(speakers)
    if segments.metadata is not None:
        columns["metadata"] = pa.ListArray.from_arrays(pa.array(segments.splits.astype(np.int32)), segments.metadata)
    if attention_mask:
        columns["attention_mask"] = values(kept.astype(np.uint8))
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=ROW_GROUP, use_dictionary=["split"])


class TokensReader:
    """Reads rows of one split by number. Keeps the row groups (512 rows) that were read last, 64 MiB at most.

    So each is read from the disk once for all lanes of a block, which read the same stretch of rows in turn.
    `speakers` are those of a data policy: if given, tokens of others have the role OTHER_SPEAKER and so are no data.
    Raises TokensError if the split has no rows, if `speakers` are wanted of tokens that have none, or if a shard is missing
    or is not what `tokens.json` says.
    """

    def __init__(self, files: ArtifactFilesLike, split: str, speakers: Sequence[SpeakerName] = ()) -> None:
        self.info = load_info(files)
        present = [name for name, counts in self.info.splits.items() if counts["rows"]]
        if split not in present:
            raise TokensError(f"there are no tokens of split {split!r}; there are {', '.join(present) or 'none'}")
        self.split = split
        self._has_speakers = "speakers" in self.info.splits[split]
        self._other_speakers = [code for code, name in enumerate(SPEAKERS) if speakers and name not in speakers]
        if speakers and not self._has_speakers:
            raise TokensError(
                f"the data policy wants speakers ({', '.join(speakers)}), but these tokens are of no chats: leave "
                "`policy.speakers` empty, or tokenize a dataset that has `messages`"
            )
        self.n_rows: int = self.info.splits[split]["rows"]
        self.context_length = self.info.context_length
        self.attention = self.info.attention
        self.padding_side: Side = self.info.padding_side
        self.bos_id, self.eos_id, self.pad_id = self.info.bos_id, self.info.eos_id, self.info.pad_id
        self._files = files
        self._groups: dict[tuple[int, int], TokenRows] = {}  # by shard and row group, the one read last at the end
        self._most_groups = max(1, _CACHED_BYTES // (ROW_GROUP * self.context_length * _BYTES_PER_TOKEN))

    def read(self, start: int, stop: int) -> TokenRows:
        """Rows [start, stop) of the split. Raises IndexError outside [0, n_rows]."""
        if not 0 <= start <= stop <= self.n_rows:
            raise IndexError(f"rows [{start}, {stop}) of split {self.split!r}, which has {self.n_rows}")
        pieces = []
        row = start
        while row < stop:
            shard, within = divmod(row, self.info.rows_per_shard)
            group, first = divmod(within, ROW_GROUP)
            rows = self._group(shard, group)
            count = min(stop - row, len(rows.input_ids) - first)
            pieces.append(rows.part(first, first + count))
            row += count
        if not pieces:
            return _no_rows(self.context_length)
        return TokenRows(
            np.concatenate([piece.input_ids for piece in pieces]),
            np.concatenate([piece.roles for piece in pieces]),
            np.concatenate([piece.document for piece in pieces]),
            np.concatenate([piece.speakers for piece in pieces]),
        )

    def _group(self, shard: int, group: int) -> TokenRows:
        rows = self._groups.pop((shard, group), None) or self._load(shard, group)
        self._groups[shard, group] = rows
        while len(self._groups) > self._most_groups:
            del self._groups[next(iter(self._groups))]
        return rows

    def _load(self, shard: int, group: int) -> TokenRows:
        name = shard_name(self.split, shard)
        path = self._files.path(name)
        first = shard * self.info.rows_per_shard
        rows_in_shard = min(self.info.rows_per_shard, self.n_rows - first)
        expected = min(ROW_GROUP, rows_in_shard - group * ROW_GROUP)
        try:
            with pq.ParquetFile(path) as shard_file:
                names = ["input_ids", "roles", "segments", *(["speakers"] if self._has_speakers else [])]
                table = shard_file.read_row_group(group, columns=names)
        except (OSError, pa.ArrowException, IndexError) as error:
            raise TokensError(f"cannot read rows of {name} ({path}): {error}; tokenize again") from None
        rows = _decode(table, self.info)
        if rows is None or len(rows.input_ids) != expected:
            raise TokensError(
                f"{name}: row group {group} does not hold {expected} rows of {self.context_length} tokens as "
                f"{TOKENS_JSON} says; tokenize again"
            )
        if self._other_speakers:
            chosen_out = np.isin(rows.speakers, self._other_speakers) & np.isin(rows.roles, (Role.DATA, Role.SPECIAL))
            rows = rows._replace(roles=np.where(chosen_out, np.uint8(OTHER_SPEAKER), rows.roles))
        return rows


def _no_rows(length: int) -> TokenRows:
    none = (0, length)
    return TokenRows(
        np.zeros(none, np.int32), np.zeros(none, np.uint8), np.zeros(none, np.int64), np.zeros(none, np.uint8)
    )


def _column(table: pa.Table, name: str) -> pa.ListArray:
    return table.column(name).combine_chunks()


def _decode(table: pa.Table, info: TokensInfo) -> TokenRows | None:
    """Rows of a table, or None if they are not as long as `tokens.json` says."""
    n, length = table.num_rows, info.context_length
    stored = _column(table, "input_ids")
    widths = np.diff(stored.offsets.to_numpy())
    input_ids, roles = stored.flatten().to_numpy(), _column(table, "roles").flatten().to_numpy()
    speakers = np.zeros(roles.size, np.uint8)
    if "speakers" in table.column_names:
        speakers = _column(table, "speakers").flatten().to_numpy()
    if not roles.size == input_ids.size == speakers.size:
        return None
    if not (widths <= length if info.padding == "none" else widths == length).all():
        return None
    shift = np.zeros(n, np.int64)
    if info.padding == "none":
        shift = length - widths if info.padding_side == "left" else shift
        column = np.arange(length) - shift[:, None]
        kept = (column >= 0) & (column < widths[:, None])
        input_ids, roles = _spread(input_ids, kept, info.pad_id), _spread(roles, kept, Role.PAD)
        speakers = _spread(speakers, kept, Speaker.NONE)
    lists = _column(table, "segments")
    records = lists.flatten()
    doc, start = records.field("doc").to_numpy(), records.field("start").to_numpy()
    row = np.repeat(np.arange(n, dtype=np.int64), np.diff(lists.offsets.to_numpy()))
    document = _fill(doc, row * length + start + shift[row], n, length)
    document[roles.reshape(n, length) == Role.PAD] = -1
    return TokenRows(input_ids.reshape(n, length), roles.reshape(n, length), document, speakers.reshape(n, length))


def _spread(values: npt.NDArray[Any], kept: npt.NDArray[np.bool_], padding: int) -> npt.NDArray[Any]:
    """Values one behind the other, where `kept` is true; `padding` elsewhere."""
    out = np.full(kept.shape, padding, values.dtype)
    out[kept] = values
    return out


def _fill(doc: npt.NDArray[np.int64], position: npt.NDArray[np.int64], n: int, length: int) -> npt.NDArray[np.int64]:
    """Document of each position [n, length]: -1 from a row's start up to its first segment."""
    edges = np.concatenate([np.arange(n, dtype=np.int64) * length, position])
    values = np.concatenate([np.full(n, -1, np.int64), doc])
    order = np.argsort(edges, kind="stable")  # at equal edges the segment comes after the row's own -1, with length 0
    edges, values = edges[order], values[order]
    return np.repeat(values, np.diff(np.append(edges, n * length))).reshape(n, length)
