"""The `datasets` artifact: documents in Parquet files, and `documents.json` that counts them.

A file `documents-00000.parquet` has the columns doc (int64, the document's number in the dataset), split (string:
train, validation or test), text (string), text_bytes (int64, length of the text in UTF-8), and whatever other columns
the source had, as strings. If documents are chats there is a column `messages` too: a list of structs of strings,
the fields of `Message`; the text is then the chat written plainly. If chats bring tools or other variables for a chat
template, a column `template_variables` has them as JSON. Row groups hold 1 MiB of text. Beside it,
`documents-00000.grams.safetensors` says which row groups a substring can be in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from sae.formats.artifact_files import ArtifactFilesLike
from sae.formats.gram_index import GramIndexWriter, groups_with, index_name
from sae.formats.long_text import LongText, Text, utf8_bytes

DOCUMENTS_JSON = "documents.json"
SPLITS = ("train", "validation", "test")
MESSAGES = "messages"
TEMPLATE_VARIABLES = "template_variables"
OWN_COLUMNS = ("doc", "split", "text", "text_bytes", MESSAGES, TEMPLATE_VARIABLES)
_FILE_BYTES = 64 << 20  # text in one file; what a writer holds in memory at once
_FILE_ROWS = 100_000
_GROUP_BYTES = 1 << 20  # text in one row group; what a reader holds in memory at once


class DatasetError(ValueError):
    """A dataset that cannot be made or read; the message says which file and what would be right."""


class Message(NamedTuple):
    """One message of a chat."""

    role: str  # system, user, assistant or tool
    content: str
    thinking: str | None = None  # what the assistant thinks before it answers
    tool_calls: str | None = None  # of an assistant, as the JSON that the source had
    tool_call_id: str | None = None  # of a tool's answer: the call that it answers
    name: str | None = None  # of who speaks, or of the tool


MESSAGES_TYPE = pa.list_(pa.struct([(name, pa.string()) for name in Message._fields]))


class Document(NamedTuple):
    """One document. Its number is its place in the dataset. `messages` only if it is a chat.

    `text` may be a LongText when a document is written. One that was read is a string.
    `template_variables`: what its chat template is given beside the messages, as a JSON object.
    """

    split: str
    text: Text
    columns: dict[str, str | None]
    messages: tuple[Message, ...] | None = None
    template_variables: str | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What `documents.json` says. `splits[name]` holds documents and text_bytes; `files` has documents by file name."""

    documents: int
    text_bytes: int
    splits: dict[str, dict[str, int]]
    columns: list[str]
    files: dict[str, int]

    def and_next(self, later: DatasetInfo) -> DatasetInfo:
        """What a dataset is of which this says the first files, and `later` those behind them."""
        splits = {name: dict(counts) for name, counts in self.splits.items()}
        for name, counts in later.splits.items():
            own = splits.setdefault(name, {"documents": 0, "text_bytes": 0})
            for key, count in counts.items():
                own[key] += count
        return DatasetInfo(
            self.documents + later.documents,
            self.text_bytes + later.text_bytes,
            dict(sorted(splits.items())),
            sorted({*self.columns, *later.columns}),
            {**self.files, **later.files},
        )

    def save(self, path: Path) -> None:
        """Writes `documents.json`."""
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def documents_name(number: int) -> str:
    """Name of a file of documents."""
    return f"documents-{number:05d}.parquet"


class DatasetWriter:
    """Writes documents into `folder`, at most `rows_per_file` rows and 64 MiB of text a file (`file_ranges` says the same).

    Equal documents give equal bytes. Holds one file's documents in memory. `first_file` and `first_document` are the
    numbers of the first ones that it is given, of a dataset that is written by several.
    """

    def __init__(
        self, folder: Path, rows_per_file: int = _FILE_ROWS, first_file: int = 0, first_document: int = 0
    ) -> None:
        self._folder, self._rows_per_file = folder, rows_per_file
        self._first_file, self._first_document = first_file, first_document
        self._batch: list[Document] = []
        self._sizes: list[int] = []  # of their texts
        self._batch_bytes = 0
        self._files: dict[str, int] = {}
        self._splits: dict[str, dict[str, int]] = {}
        self._columns: set[str] = set()
        self.documents = 0

    def add(self, document: Document) -> None:
        """Takes the next document. Raises DatasetError for an unknown split."""
        self._batch.append(document)
        self._sizes.append(utf8_bytes(document.text))
        self._batch_bytes += self._sizes[-1]
        self.documents += 1
        if len(self._batch) == self._rows_per_file or self._batch_bytes >= _FILE_BYTES:
            self._flush()

    def finish(self) -> DatasetInfo:
        """Writes what is left and `documents.json`. Raises DatasetError if there was no document."""
        if self._batch:
            self._flush()
        if not self.documents:
            raise DatasetError("the dataset is empty: no document has any text")
        text_bytes = sum(counts["text_bytes"] for counts in self._splits.values())
        splits = dict(sorted(self._splits.items()))
        info = DatasetInfo(self.documents, text_bytes, splits, sorted(self._columns), self._files)
        info.save(self._folder / DOCUMENTS_JSON)
        return info

    def _flush(self) -> None:
        name = documents_name(self._first_file + len(self._files))
        for document, size in zip(self._batch, self._sizes, strict=True):
            counts = self._splits.setdefault(_known(document.split), {"documents": 0, "text_bytes": 0})
            counts["documents"] += 1
            counts["text_bytes"] += size
            self._columns.update(document.columns, () if document.messages is None else (MESSAGES,))
            self._columns.update(() if document.template_variables is None else (TEMPLATE_VARIABLES,))
        first = self._first_document + self.documents - len(self._batch)
        _write_file(self._folder / name, self._batch, self._sizes, first)
        self._files[name] = len(self._batch)
        self._batch, self._sizes, self._batch_bytes = [], [], 0


class DocumentRange(NamedTuple):
    """Documents [start, stop) of a chunk of a source."""

    chunk: int
    start: int
    stop: int


def file_ranges(sizes: Iterable[npt.NDArray[np.int64]], rows_per_file: int = _FILE_ROWS) -> list[list[DocumentRange]]:
    """Which documents each file gets from a DatasetWriter that is given those of all chunks in turn.

    `sizes`: by chunk, the bytes of each document's text.
    """
    files: list[list[DocumentRange]] = [[]]
    rows = text_bytes = 0  # of the last file so far
    for chunk, own in enumerate(sizes):
        ends, start, before = np.cumsum(own), 0, 0
        while start < len(own):
            full = int(np.searchsorted(ends, before + _FILE_BYTES - text_bytes)) + 1
            stop = min(start + rows_per_file - rows, full, len(own))
            files[-1].append(DocumentRange(chunk, start, stop))
            rows += stop - start
            text_bytes += int(ends[stop - 1]) - before
            start, before = stop, int(ends[stop - 1])
            if rows == rows_per_file or text_bytes >= _FILE_BYTES:
                files.append([])
                rows = text_bytes = 0
    return [file for file in files if file]


def write_documents(folder: Path, documents: Iterable[Document], rows_per_file: int = _FILE_ROWS) -> DatasetInfo:
    """Writes all documents as DatasetWriter does. Raises DatasetError if there are none."""
    writer = DatasetWriter(folder, rows_per_file)
    for document in documents:
        writer.add(document)
    return writer.finish()


def _known(split: str) -> str:
    if split not in SPLITS:
        raise DatasetError(f"a document is of split {split!r}; the splits are {', '.join(SPLITS)}")
    return split


def _write_file(path: Path, batch: list[Document], sizes: list[int], first: int) -> None:
    names = sorted({name for document in batch for name in document.columns})
    chats = any(document.messages is not None for document in batch)
    variables = any(document.template_variables is not None for document in batch)
    schema = pa.schema(
        [("doc", pa.int64()), ("split", pa.string()), ("text", pa.large_string()), ("text_bytes", pa.int64())]
        + ([(MESSAGES, MESSAGES_TYPE)] if chats else [])
        + ([(TEMPLATE_VARIABLES, pa.string())] if variables else [])
        + [(name, pa.string()) for name in names]
    )
    grams = GramIndexWriter()
    with pq.ParquetWriter(path, schema, compression="zstd", **_encoding(max(sizes))) as writer:
        for start, stop in _spans(sizes, _GROUP_BYTES):
            part = batch[start:stop]
            grams.add([document.text for document in part])
            columns: dict[str, list[Any]] = {
                "doc": list(range(first + start, first + stop)),
                "split": [document.split for document in part],
                "text_bytes": sizes[start:stop],
            }
            if chats:
                columns[MESSAGES] = [message_rows(document) for document in part]
            if variables:
                columns[TEMPLATE_VARIABLES] = [document.template_variables for document in part]
            columns.update({name: [document.columns.get(name) for document in part] for name in names})
            with text_values(part) as texts:
                writer.write_table(pa.table({**columns, "text": texts}, schema=schema))
    grams.save(path.with_name(index_name(path.name)))
    if max(sizes) > _FILE_BYTES:
        release_unused()


def _encoding(largest: int) -> dict[str, Any]:
    """How Parquet encodes a file whose largest text has so many bytes.

    By default its writer makes seven copies of a text, for a dictionary and least and greatest values: too many of a large one.
    """
    if largest <= _FILE_BYTES:
        return {}
    return {"use_dictionary": False, "write_statistics": ["doc", "split", "text_bytes"], "data_page_version": "2.0"}


def text_values(part: list[Document]) -> AbstractContextManager[pa.Array | list[str]]:
    """The texts of some documents, for the time of a block: those in memory as strings, a long one alone mapped."""
    (first, *others) = (document.text for document in part)
    if isinstance(first, LongText) and not others:
        return first.array()
    return nullcontext([str(document.text) for document in part])


def release_unused() -> None:
    """Gives memory that Arrow does not use back to the system: its pool keeps as much as was ever taken from it."""
    pa.default_memory_pool().release_unused()


def message_rows(document: Document) -> list[dict[str, str | None]] | None:
    """A document's messages as `read_messages` reads them."""
    return None if document.messages is None else [message._asdict() for message in document.messages]


def _spans(sizes: list[int], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of consecutive items whose sizes add up to `most` or less; an item larger than that is alone."""
    start = total = 0
    for i, size in enumerate(sizes):
        if i > start and total + size > most:
            yield start, i
            start, total = i, 0
        total += size
    if sizes:
        yield start, len(sizes)


class DatasetReader:
    """Reads documents. Raises DatasetError if these are no documents, or a file cannot be read."""

    def __init__(self, files: ArtifactFilesLike) -> None:
        if DOCUMENTS_JSON not in files.names:
            raise DatasetError(
                f"this is no dataset: there is no {DOCUMENTS_JSON} among {', '.join(files.names) or 'no files'}"
            )
        path = files.path(DOCUMENTS_JSON)
        try:
            self.info = DatasetInfo(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{path} is not a description of documents: {error}") from None
        self._files = files

    def chunks(self, chunk_bytes: int) -> list[tuple[str, int, int]]:
        """Cuts the dataset into ranges (file, first row, row after the last) of `chunk_bytes` of text or less.

        Depends on the documents and `chunk_bytes` alone. A document longer than that is alone.
        """
        chunks = []
        for name, rows in self.info.files.items():
            sizes = self.read(name, 0, rows, ["text_bytes"]).column("text_bytes").to_pylist()
            chunks += [(name, start, stop) for start, stop in _spans(sizes, chunk_bytes)]
        return chunks

    def read(self, name: str, start: int, stop: int, columns: list[str] | None = None) -> pa.Table:
        """Rows [start, stop) of a file. Reads only the row groups that hold them."""
        with self.open(name) as file:
            groups, first = _groups(file.metadata, start, stop)
            large = any(file.metadata.row_group(group).total_byte_size > _FILE_BYTES for group in groups)
            # What other threads took from Arrow's pool cannot be given back from this one.
            table = file.read_row_groups(groups, columns=columns, use_threads=not large)
        if large:
            release_unused()
        return table.slice(start - first, stop - start)

    @contextmanager
    def open(self, name: str) -> Iterator[pq.ParquetFile]:
        """A file for reading. Raises DatasetError, here and in the block, if it cannot be read."""
        path = self._files.path(name)
        try:
            with pq.ParquetFile(path) as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"cannot read documents from {path}: {error}; download the dataset again") from None

    def groups_with(self, name: str, grams: Sequence[bytes]) -> npt.NDArray[np.bool_] | None:
        """Which row groups of a file may hold all grams: bool [row groups or more]; None if that is not known."""
        if not grams or index_name(name) not in self._files.names:
            return None
        path = self._files.path(index_name(name))
        try:
            return groups_with(path, grams)
        except (OSError, SafetensorError) as error:
            raise DatasetError(f"cannot read {path}: {error}; download the dataset again") from None

    def documents(self, split: str | None = None) -> Iterator[tuple[int, Document]]:
        """All documents with their numbers, in order; only those of `split` if given. Holds 1 MiB of text at a time."""
        for name, start, stop in self.chunks(_GROUP_BYTES):
            for row in self.read(name, start, stop).to_pylist():
                if split is None or row["split"] == split:
                    extra = {key: value for key, value in row.items() if key not in OWN_COLUMNS}
                    variables = row.get(TEMPLATE_VARIABLES)
                    yield row["doc"], Document(row["split"], row["text"], extra, read_messages(row), variables)


def read_messages(row: Mapping[str, Any]) -> tuple[Message, ...] | None:
    """The messages of a row of a dataset; None if it is no chat."""
    messages = row.get(MESSAGES)
    return None if messages is None else tuple(Message(**message) for message in messages)


def iter_documents(files: ArtifactFilesLike, split: str | None = None) -> Iterator[tuple[int, Document]]:
    """All documents of a dataset with their numbers, in order."""
    return DatasetReader(files).documents(split)


def _groups(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """Row groups that hold rows [start, stop), and the number of the first row in them."""
    groups: list[int] = []
    first = row = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if row < stop and row + rows > start:
            first = first if groups else row
            groups.append(group)
        row += rows
    return groups, first
