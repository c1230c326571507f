"""Source files to documents: Parquet, JSON Lines, JSON, CSV and plain text, compressed or not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.download import DatasetOptions
from sae.formats.dataset import DatasetError, Document
from sae.sources.file_selection import format_of
from sae.text.html import strip_html
from sae.text.sections import sections
from sae.text.splits import canonical_split, heldout_split, splits_by_file

_RESERVED = ("doc", "split", "text", "text_bytes")
_CSV_FIELD = 1 << 30  # characters; Python's default refuses fields above 128 KiB


class SourceFile(NamedTuple):
    """A file of a source: its name in the source (with folders) and where it lies."""

    name: str
    path: Path


class SourceDocuments:
    """The documents of a source's files, in the order of sorted file names.

    Documents without a visible character are left out and counted in `empty`; `files_done` counts files that are read.
    Iterating raises DatasetError that names the file if it cannot be read or lacks the text column.
    """

    def __init__(self, files: Sequence[SourceFile], options: DatasetOptions) -> None:
        self.files = sorted(files, key=lambda file: file.name)
        self.options = options
        self.empty = 0
        self.files_done = 0
        self._splits = splits_by_file([file.name for file in self.files])

    def __iter__(self) -> Iterator[Document]:
        taken = 0
        for file in self.files:
            for text, columns in self._rows(file):
                if not text.strip():
                    self.empty += 1
                    continue
                if self.options.max_documents is not None and taken == self.options.max_documents:
                    return
                yield self._document(file, text, columns)
                taken += 1
            self.files_done += 1

    def _document(self, file: SourceFile, text: str, row: Mapping[str, Any]) -> Document:
        columns: dict[str, str | None] = {
            _free(key): shown for key, value in row.items() for shown in (_shown(value),) if shown is not None
        }
        column = self.options.split_column
        if column is not None and column in row:
            said = columns.pop(_free(column), None) or ""
            split = canonical_split(said)
            if split is None:
                raise DatasetError(
                    f"{file.name}: column {column!r} holds {said!r}; expected train, validation or test "
                    f"(set dataset.split_column to another column, or to null)"
                )
        elif self._splits is not None:
            split = self._splits[file.name]
        else:
            split = heldout_split(text, self.options.heldout_fraction, self.options.heldout_seed)
        return Document(split, text, columns)

    def _rows(self, file: SourceFile) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(text, other columns) of each row of a file."""
        try:
            if self.options.documents == "sections":
                yield from self._sections(file)
            elif format_of(file.name) == "txt":
                yield self._clean(_open(file).read()), {"file": file.name}
            else:
                for number, row in enumerate(_READERS[_format(file)](file)):
                    yield self._text(file, row, number), {k: v for k, v in row.items() if k != self.options.text_column}
        except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(f"cannot read {file.name} ({file.path}): {error}") from error

    def _text(self, file: SourceFile, row: Mapping[str, Any], number: int) -> str:
        column = self.options.text_column
        if column not in row:
            raise DatasetError(
                f"{file.name}: row {number} has no column {column!r}; it has {', '.join(row) or 'none'} "
                f"(set dataset.text_column)"
            )
        value = row[column]
        if value is not None and not isinstance(value, str):
            raise DatasetError(f"{file.name}: column {column!r} of row {number} holds {type(value).__name__}, not text")
        return self._clean(value or "")

    def _clean(self, text: str) -> str:
        return _encodable(strip_html(text) if self.options.strip_html else text)

    def _sections(self, file: SourceFile) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if format_of(file.name) != "json":
            raise DatasetError(f"{file.name}: `documents: sections` reads .json files only; use `documents: rows`")
        *_, region, name = ("", *file.name.split("/"))
        for section, text in sections(json.load(_open(file)), self.options.strip_html):
            yield text, {"region": region, "country": name.partition(".")[0], "section": section}


def _format(file: SourceFile) -> str:
    found = format_of(file.name)
    if found is None:
        raise DatasetError(f"{file.name} is none of .parquet, .jsonl, .json, .csv, .txt")
    return found


def _open(file: SourceFile) -> io.TextIOWrapper:
    stream = pa.input_stream(str(file.path), compression=_compression(file.name))
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _compression(name: str) -> str | None:
    return {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}.get(name.lower().rpartition(".")[2])


def _parquet(file: SourceFile) -> Iterator[Mapping[str, Any]]:
    with pq.ParquetFile(file.path) as parquet:
        plain = [field.name for field in parquet.schema_arrow if not pa.types.is_nested(field.type)]
        for batch in parquet.iter_batches(batch_size=256, columns=plain):
            yield from batch.to_pylist()


def _jsonl(file: SourceFile) -> Iterator[Mapping[str, Any]]:
    with _open(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield _object(json.loads(line))
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from None


def _json(file: SourceFile) -> Iterator[Mapping[str, Any]]:
    with _open(file) as stream:
        text = stream.read()
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        yield from _jsonl(file)  # JSON Lines under the name .json are common on the hub
        return
    yield from map(_object, content if isinstance(content, list) else [content])


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object with columns, not a {type(value).__name__}")
    return value


def _csv(file: SourceFile) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(_CSV_FIELD)
    with _open(file) as lines:
        for row in csv.DictReader(lines, strict=True):
            if None in row:
                raise ValueError(f"a row has more fields than the header: {row[None]!r:.80}")
            yield row


_READERS = {"parquet": _parquet, "jsonl": _jsonl, "json": _json, "csv": _csv}


def _free(name: str) -> str:
    """The column's name, out of the way of the dataset's own columns."""
    return f"source_{name}" if name in _RESERVED else name


def _shown(value: Any) -> str | None:
    """A plain value as text; None for what is missing, binary or nested."""
    return None if value is None or isinstance(value, bytes | list | dict) else _encodable(str(value))


def _encodable(text: str) -> str:
    """The text with half surrogate pairs replaced: JSON may hold them (an emoji that was cut), UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
