"""CSV and TSV: the first line names the columns, quotes inside a quoted field are doubled."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from configs.download import DatasetOptions
from sae.formats.dataset import DatasetError
from sae.quoting import quoted
from sae.text.readers import SourceFile, SourceRow
from sae.text.readers.column_checks import Columns, missing_column, unique_names
from sae.text.readers.open_file import open_text
from sae.text.row_shapes import TextShape, find_shape, shape_paths

_LONGEST_FIELD = 1 << 30  # characters; Python's default refuses fields above 128 KiB


def read_csv(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """The rows of a file whose fields are separated by commas."""
    yield from _rows(file, options, ",")


def read_tsv(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """The rows of a file whose fields are separated by tabs."""
    yield from _rows(file, options, "\t")


def _rows(file: SourceFile, options: DatasetOptions, delimiter: str) -> Iterator[SourceRow]:
    records = _records(file, delimiter)
    _, header = next(records, (0, []))
    if not header:
        return
    names = unique_names(header)
    _check_header(file, options, header, delimiter)
    for line, record in records:
        if len(record) != len(names):
            raise ValueError(f"line {line} has {len(record)} fields, but the header has {len(names)} columns")
        yield SourceRow(f"line {line}", dict(zip(names, record, strict=True)))


def _records(file: SourceFile, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(first line, fields) of each record that is not blank."""
    csv.field_size_limit(_LONGEST_FIELD)
    with open_text(file) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        line = 1
        try:
            for record in reader:
                if record:
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"line {line}: {_advice(str(error))}") from None


def _advice(message: str) -> str:
    if "expected after" in message:
        return 'text follows a closing quote; a quote inside a quoted field must be doubled ("")'
    if "unexpected end" in message:
        return "a quoted field is opened here and never closed"
    return message


def _check_header(file: SourceFile, options: DatasetOptions, header: list[str], delimiter: str) -> None:
    """Raises DatasetError if the columns that documents are made of are not there, or there twice."""
    where, kinds = "the first line, which names the columns,", dict.fromkeys(header, "")
    other = next((c for c in ";\t|," if c != delimiter and len(header) == 1 and c in header[0]), None)
    if other is not None and header[0] != options.text_column:
        raise DatasetError(
            f"{file.name}: its fields seem to be separated by {other!r} (first line: {quoted(header[0])}), but a "
            f".{'csv' if delimiter == ',' else 'tsv'} file is read with {delimiter!r}: write it with that"
        )
    shape = find_shape(file.name, where, Columns(kinds, {}), options)
    if isinstance(shape, TextShape) and shape.path != options.text_column:
        # Found, not named: the file may have no header, and its first text would be lost.
        raise missing_column(file.name, where, options.text_column, kinds)
    for column in shape_paths(shape) if shape is not None else ():
        if header.count(column) > 1:
            raise DatasetError(f"{file.name} has {header.count(column)} columns {column!r}: rename all but one")
