"""Readers of source files: one function a format, named in configs/text_formats.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from configs.download import DatasetOptions
from configs.text_formats import TEXT_FORMATS, format_ending, format_endings
from sae.formats.dataset import DatasetError
from sae.text.readers.column_checks import Columns


class SourceFile(NamedTuple):
    """A file of a source: its name in the source (with folders, printable) and its path.

    `row_groups`: of a Parquet file, the first that is read and the one behind the last; None reads all.
    """

    name: str
    path: Path
    row_groups: tuple[int, int] | None = None


class SourceRow(NamedTuple):
    """One row of a file: where it is, for messages (`line 3`), and its values by column.

    Bytes of a text that are not UTF-8 come as lone surrogates (Python's `surrogateescape`). `columns` is what the
    file's schema says of its columns; None if the format has none.
    """

    where: str
    values: Mapping[str, Any]
    columns: Columns | None = None


class Reader(Protocol):
    """Reads the rows of one file. Raises DatasetError, OSError or ValueError; a message need not name the file."""

    def __call__(self, file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]: ...


def reader_of(name: str) -> Reader:
    """The reader for a file's name. Raises DatasetError for a format that is not in the table."""
    ending = format_ending(name)
    if ending is None:
        raise DatasetError(f"{name} is none of {format_endings()}")
    module, _, function = TEXT_FORMATS[ending].reader.partition(":")
    reader: Reader = getattr(import_module(module), function)
    return reader
