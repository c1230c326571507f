"""Chunks of a source that can be read apart from each other: files, or row groups of a Parquet file.

They follow from the files and the options alone, never from the number of workers. What a row says may depend on one
thing that earlier rows say, the shape of the documents, so that is found here, before the chunks are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.download import DatasetOptions
from configs.text_formats import compression_ending, format_ending
from sae.text.readers import SourceFile
from sae.text.readers.arrow_tables import is_read_by_row
from sae.text.readers.column_checks import columns_of_row
from sae.text.readers.open_file import DAMAGED
from sae.text.row_shapes import RowShape, find_shape
from sae.text.source_documents import file_splits, sorted_files
from sae.text.source_rows import source_rows

# Of files as they are; a few seconds of work. A stopped download goes on with the chunks that it has stored, by number: whoever
# divides sources otherwise raises VERSION of jobs/stages/download.py.
CHUNK_BYTES = 32 << 20
ONE_TASK_BYTES = (
    128 << 20
)  # up to this size one pass takes 4 s if it is plain text, and the start of workers half of that


class SourceChunk(NamedTuple):
    """Files that are read in turn, or row groups of one file; `size` bytes of them.

    `splits`: of those files whose split is known. `shape`: what documents are made of, if rows before these say it.
    """

    files: tuple[SourceFile, ...]
    size: int
    splits: Mapping[str, str]
    shape: RowShape | None = None


class DividedSource(NamedTuple):
    """A source in chunks, in the order of its documents, and what these are made of."""

    chunks: list[SourceChunk]
    shape: RowShape


def divide(
    files: Sequence[SourceFile], options: DatasetOptions, splits: Mapping[str, str] | None = None
) -> DividedSource | None:
    """The chunks of a source; None if it is to be read in one pass. `splits` as SourceDocuments takes it.

    That is so if it is small or cannot be divided, if the first documents of each split are wanted alone, and if something
    is wrong before a row says what documents are made of: one pass will say what.
    """
    if options.max_documents is not None:
        return None
    try:
        return _divide(sorted_files(files), options, splits)
    except (OSError, ValueError, RecursionError, *DAMAGED):
        return None


def _divide(
    files: Sequence[SourceFile], options: DatasetOptions, splits: Mapping[str, str] | None
) -> DividedSource | None:
    if sum(file.path.stat().st_size for file in files) <= ONE_TASK_BYTES:
        return None
    known = file_splits(files) if splits is None else splits
    chunks = [
        SourceChunk(tuple(some), size, {file.name: known[file.name] for file in some if file.name in known})
        for some, size in _grouped(files)
    ]
    found = _first_shape(chunks, options) if len(chunks) > 1 else None
    if found is None:
        return None
    number, shape = found
    # No row of the chunks before says anything, and that chunk finds it at the same row again.
    return DividedSource([p if i <= number else p._replace(shape=shape) for i, p in enumerate(chunks)], shape)


def _grouped(files: Sequence[SourceFile]) -> Iterator[tuple[list[SourceFile], int]]:
    """Files, and parts of them, that make a chunk each, with their bytes."""
    some: list[SourceFile] = []
    total = 0
    for file in files:
        parts = list(_row_groups(file))
        size = file.path.stat().st_size
        if some and (len(parts) > 1 or total + size > CHUNK_BYTES):
            yield some, total
            some, total = [], 0
        if len(parts) > 1:
            yield from (([part], part_size) for part, part_size in parts)
        else:
            some, total = [*some, file], total + size
    if some:
        yield some, total


def _row_groups(file: SourceFile) -> Iterator[tuple[SourceFile, int]]:
    """A large Parquet file as parts of consecutive row groups, with their bytes; nothing for another file."""
    if format_ending(file.name) != "parquet" or compression_ending(file.name) is not None:
        return
    if file.path.stat().st_size <= CHUNK_BYTES:
        return
    try:
        with pq.ParquetFile(file.path) as parquet:
            if not is_read_by_row(parquet.schema_arrow):
                return
            metadata = parquet.metadata
            sizes = [_group_bytes(metadata.row_group(group)) for group in range(metadata.num_row_groups)]
    except (OSError, pa.ArrowException):
        return  # reading it will say what is wrong with it
    start = total = 0
    for group, size in enumerate(sizes):
        if group > start and total + size > CHUNK_BYTES:
            yield file._replace(row_groups=(start, group)), total
            start, total = group, 0
        total += size
    yield file._replace(row_groups=(start, len(sizes))), total


def _group_bytes(group: pq.RowGroupMetaData) -> int:
    return sum(group.column(i).total_compressed_size for i in range(group.num_columns))


def _first_shape(chunks: Sequence[SourceChunk], options: DatasetOptions) -> tuple[int, RowShape] | None:
    """The number of the first chunk with a row that says what documents are made of, and that shape."""
    for number, chunk in enumerate(chunks):
        for file in chunk.files:
            for row in source_rows(file, options):
                shape = find_shape(file.name, row.where, row.columns or columns_of_row(row.values), options)
                if shape is not None:
                    return number, shape
    return None
