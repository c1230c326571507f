"""Parquet and Arrow files. A column that is not needed never stops the reading: what it holds becomes text, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.download import DatasetOptions
from sae.formats.dataset import DatasetError
from sae.text.readers import SourceFile, SourceRow
from sae.text.readers.column_checks import check_text_column, kind_of_type, not_text, unique_names
from sae.text.readers.open_file import open_bytes

_BATCH = 256  # rows


def read_parquet(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """The rows of a Parquet file. Columns with nested values are not read."""
    with open_bytes(file) as stream, pq.ParquetFile(stream) as parquet:
        _check_schema(file, options, parquet.schema_arrow)
        plain = [field.name for field in parquet.schema_arrow if not pa.types.is_nested(field.type)]
        yield from _rows(parquet.iter_batches(batch_size=_BATCH, columns=plain))


def read_arrow(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """The rows of an Arrow file, or of a stream as the library `datasets` saves it."""
    with open_bytes(file) as stream:
        is_file = stream.read(6) == b"ARROW1"
        stream.seek(0)
        if is_file:
            reader = pa.ipc.open_file(stream)
            batches: Iterable[pa.RecordBatch] = map(reader.get_batch, range(reader.num_record_batches))
        else:
            reader = batches = pa.ipc.open_stream(stream)
        _check_schema(file, options, reader.schema)
        yield from _rows(batches)


def _check_schema(file: SourceFile, options: DatasetOptions, schema: pa.Schema) -> None:
    column = options.text_column
    kinds = {field.name: kind_of_type(field.type) for field in schema}
    check_text_column(file.name, "the file", column, kinds)
    if schema.names.count(column) > 1:
        raise DatasetError(f"{file.name} has {schema.names.count(column)} columns {column!r}: rename all but one")
    if kinds[column] not in ("", "nothing"):
        raise not_text(file.name, "the file", column, kinds[column])


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[SourceRow]:
    number = 0
    for batch in batches:
        names = unique_names(batch.schema.names)
        columns = [_values(column) for column in batch.columns]
        for values in zip(*columns, strict=True):
            number += 1
            yield SourceRow(f"row {number}", dict(zip(names, values, strict=True)))


def _values(column: pa.Array) -> list[Any]:
    """A column's values: text as text, plain values as Python's, dates and times as text, others as nothing."""
    try:
        if pa.types.is_temporal(column.type):
            return _times(column)
        if kind_of_type(column.type) == "":
            return _texts(column)
        return [None] * len(column) if pa.types.is_nested(column.type) else column.to_pylist()
    except (OverflowError, ValueError, TypeError, NotImplementedError, pa.ArrowException):
        return [None] * len(column)


def _texts(column: pa.Array) -> list[str | None]:
    """Texts; bytes that are not UTF-8 become lone surrogates."""
    try:
        texts: list[str | None] = column.to_pylist()
        return texts
    except UnicodeDecodeError:
        plain = column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
        raw = plain.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]


def _times(column: pa.Array) -> list[str | None]:
    """Dates, times and durations as text, of any year and with all digits; a time zone's times as UTC."""
    kind, ending = column.type, ""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        column, ending = column.cast(pa.timestamp(kind.unit)), "Z"
    elif pa.types.is_duration(kind):
        column, ending = column.cast(pa.int64()), f" {kind.unit}"
    return [None if value is None else value + ending for value in column.cast(pa.string()).to_pylist()]
