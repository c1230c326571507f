"""Makes a dataset of a source's chunks, byte for byte as `write_dataset` makes it in one pass.

1. `read_chunk` each: its documents go into a file of their own, with the bytes of their texts in another.
2. The sizes of all documents say which ones each file of the dataset gets (`file_ranges`) and so their numbers.
3. `write_file` each, with the statistics of its documents; they add up to those of the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from configs.download import DatasetOptions
from sae.formats.chunk_documents import read_chunk as read_documents
from sae.formats.chunk_documents import write_chunk
from sae.formats.dataset import DatasetInfo, DatasetWriter, Document, DocumentRange, file_ranges
from sae.text.document_statistics import DocumentStatistics
from sae.text.source_chunks import SourceChunk
from sae.text.source_documents import MOST_COLUMNS, SourceDocuments
from sae.text.source_findings import SourceFindings
from sae.text.splits import heldout_split

_SIZES = "text_bytes"


class DatasetFile(NamedTuple):
    """One file of a dataset: its number, that of its first document, and where its documents are."""

    number: int
    first_document: int
    ranges: list[DocumentRange]

    @property
    def documents(self) -> int:
        """How many it holds."""
        return sum(stop - start for _, start, stop in self.ranges)


def chunk_name(number: int) -> str:
    """Name of the file with a chunk's documents."""
    return f"chunk-{number:05d}.arrow"


def sizes_name(number: int) -> str:
    """Name of the file with the bytes of their texts."""
    return f"chunk-{number:05d}.safetensors"


def statistics_name(number: int) -> str:
    """Name of the file with the statistics of a file of the dataset."""
    return f"statistics-{number:05d}.safetensors"


def read_chunk(chunk: SourceChunk, number: int, options: DatasetOptions, folder: Path) -> SourceFindings:
    """Writes the two files of a chunk. Raises DatasetError as a pass over the whole source would."""
    source = SourceDocuments(chunk.files, options, chunk.splits, shape=chunk.shape, is_chunk=True)
    sizes = write_chunk(folder / chunk_name(number), source)
    save_file({_SIZES: sizes}, folder / sizes_name(number))
    return source.findings()


def total_findings(chunks: Iterable[SourceFindings]) -> SourceFindings | None:
    """What the source has; None if it has so many columns that only one pass can tell which ones are kept."""
    found = SourceFindings()
    for own in chunks:
        found.add(own)
        if len(found.columns) >= MOST_COLUMNS:
            return None
    return found


def dataset_files(sizes: Iterable[Path]) -> list[DatasetFile]:
    """The files of the dataset. `sizes`: that file of each chunk, in order."""
    files: list[DatasetFile] = []
    first = 0
    for number, ranges in enumerate(file_ranges(_read_sizes(path) for path in sizes)):
        files.append(DatasetFile(number, first, ranges))
        first += files[-1].documents
    return files


def _read_sizes(path: Path) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = load_file(path)[_SIZES]
    return found


def write_file(
    file: DatasetFile,
    options: DatasetOptions,
    hold_out: bool,
    chunk: Callable[[int], Path],
    folder: Path,
    statistics: Path,
) -> DatasetInfo:
    """Writes a file of the dataset into `folder`, and its `statistics`. Gives what documents.json says of it alone.

    `chunk(number)`: the file with its documents. `hold_out`: all go by the held-out choice, whatever their source says.
    """
    writer = DatasetWriter(folder, first_file=file.number, first_document=file.first_document)
    counted = DocumentStatistics(options.near_duplicates)
    for document in _documents(file, chunk):
        if hold_out:
            split = heldout_split(document.text, options.heldout_fraction, options.heldout_seed)
            document = document._replace(split=split)
        writer.add(document)
        counted.add(document.split, document.text)
    counted.save(statistics)
    return writer.finish()


def _documents(file: DatasetFile, chunk: Callable[[int], Path]) -> Iterator[Document]:
    for one in file.ranges:
        yield from read_documents(chunk(one.chunk), one.start, one.stop)


def total_info(files: Sequence[DatasetInfo]) -> DatasetInfo:
    """What documents.json says of the dataset whose files these are, in order."""
    info = files[0]
    for later in files[1:]:
        info = info.and_next(later)
    return info


def total_statistics(files: Iterable[Path], options: DatasetOptions) -> dict[str, Any]:
    """The figures of the dataset. `files`: the statistics of its files, in order."""
    total = DocumentStatistics(options.near_duplicates)
    for path in files:
        total.merge(DocumentStatistics.load(path, options.near_duplicates))
    return total.figures()
