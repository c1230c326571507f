"""Parquet and Arrow files. A column that is not needed never stops the reading: what it holds becomes text, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.download import DatasetOptions
from sae.formats.dataset import DatasetError
from sae.quoting import quoted
from sae.text.column_paths import root_of
from sae.text.readers import SourceFile, SourceRow
from sae.text.readers.column_checks import NOTHING, Columns, columns_of_schema, kind_of_type, unique_names
from sae.text.readers.open_file import open_seekable
from sae.text.row_shapes import find_shape, shape_paths

_BATCH = 256  # rows
# Values that Python cannot hold: dates past year 9999, bytes that are not UTF-8, and the like.
_UNREADABLE = (OverflowError, ValueError, TypeError, NotImplementedError, pa.ArrowException)


def read_parquet(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """The rows of a Parquet file. Of columns with nested values only those are read that documents are made of."""
    with open_seekable(file) as stream, pq.ParquetFile(stream, page_checksum_verification=True) as parquet:
        schema = parquet.schema_arrow
        used = _used_columns(file, options, schema)
        wanted = [field.name for field in schema if not pa.types.is_nested(field.type) or field.name in used]
        groups = range(*(file.row_groups or (0, parquet.num_row_groups)))
        before = sum(parquet.metadata.row_group(group).num_rows for group in range(groups.start))
        batches = parquet.iter_batches(batch_size=_BATCH, row_groups=list(groups), columns=wanted)
        yield from _rows(batches, columns_of_schema(schema), used, before)


def read_arrow(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """The rows of an Arrow file, or of a stream as the library `datasets` saves it."""
    with open_seekable(file) as stream:
        is_file = stream.read(6) == b"ARROW1"
        stream.seek(0)
        if is_file:
            reader = pa.ipc.open_file(stream)
            batches: Iterable[pa.RecordBatch] = map(reader.get_batch, range(reader.num_record_batches))
        else:
            reader = batches = pa.ipc.open_stream(stream)
        used = _used_columns(file, options, reader.schema)
        yield from _rows(batches, columns_of_schema(reader.schema), used)


def _used_columns(file: SourceFile, options: DatasetOptions, schema: pa.Schema) -> set[str]:
    """The columns that documents are made of. Raises DatasetError if they are not there, or there twice."""
    shape = find_shape(file.name, "the file", columns_of_schema(schema), options)
    used = {root_of(path, schema.names) for path in shape_paths(shape)} if shape is not None else set()
    for column in used:
        if schema.names.count(column) > 1:
            raise DatasetError(f"{file.name} has {schema.names.count(column)} columns {column!r}: rename all but one")
    return used


def _rows(batches: Iterable[pa.RecordBatch], columns: Columns, used: set[str], number: int = 0) -> Iterator[SourceRow]:
    for batch in batches:
        names = unique_names(batch.schema.names)
        for name, part in zip(names, batch.columns, strict=True):
            _check_layout(part, name, number)
        values = [_used_values(part) if name in used else _values(part) for name, part in zip(names, batch.columns)]
        # Rows of which no column is read are rows all the same.
        for row in zip(*values, strict=True) if values else repeat((), batch.num_rows):
            number += 1
            yield SourceRow(f"row {number}", dict(zip(names, row, strict=True)), columns)


def _check_layout(column: pa.Array, name: str, before: int) -> None:
    """Raises ValueError for a column whose lengths or places a damaged file gives wrong: Arrow would read beyond it.

    Bytes that are not UTF-8 are no such damage.
    """
    try:
        if isinstance(column, pa.DictionaryArray):
            _check_layout(column.indices, name, before)
            _check_layout(column.dictionary, name, before)
            highest = pc.max(column.indices).as_py()
            if highest is not None and highest >= len(column.dictionary):
                raise pa.ArrowInvalid(f"index {highest} of {len(column.dictionary)} values")
        else:
            column.view(_as_binary(column.type)).validate(full=True)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(f"behind row {before}: column {quoted(name)} is damaged: {error}") from None


def _as_binary(kind: pa.DataType) -> pa.DataType:
    """The type with bytes in place of text: of the same layout, but any bytes are valid."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_binary(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_binary(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_as_binary(kind.value_type)))
    texts = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    return texts.get(kind, kind)


def _used_values(column: pa.Array) -> list[Any]:
    """A column's values, nested ones too; what Python cannot hold becomes nothing, the rest of its row stays."""
    if not pa.types.is_nested(column.type):
        return _values(column)
    try:
        values: list[Any] = column.to_pylist()
        return values
    except _UNREADABLE:
        return [_nested(scalar) for scalar in column]


def is_read_by_row(schema: pa.Schema) -> bool:
    """Whether what is read of a row never depends on the rows beside it, so that a Parquet file may be read in parts.

    Where Python cannot hold one nested value of a batch, dates and maps inside the others are read in another way too.
    """
    return all(pa.types.is_temporal(field.type) or _is_plain(field.type) for field in schema)


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return all(_is_plain(field.type) for field in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_plain(kind.value_type)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return kind_of_type(kind) in ("", NOTHING) or is_number or is_binary or pa.types.is_boolean(kind)


def _nested(scalar: pa.Scalar) -> Any:
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(scalar.type):
        return {name: _nested(scalar[name]) for name in scalar}
    if isinstance(scalar, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
        return [_nested(inner) for inner in scalar.values]
    return _values(pa.array([scalar], scalar.type))[0]


def _values(column: pa.Array) -> list[Any]:
    """A column's values: text as text, plain values as Python's, dates and times as text, others as nothing."""
    try:
        if pa.types.is_temporal(column.type):
            return _times(column)
        if kind_of_type(column.type) == "":
            return _texts(column)
        return [None] * len(column) if pa.types.is_nested(column.type) else column.to_pylist()
    except _UNREADABLE:
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
