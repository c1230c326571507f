"""Makes the `datasets` artifact of a source's files, and says what a person should know about it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.download import DatasetOptions
from sae.formats.dataset import DatasetError, DatasetInfo, DatasetWriter
from sae.quoting import listed, shortened
from sae.text.document_statistics import DocumentStatistics
from sae.text.readers import SourceFile
from sae.text.row_content import ContentCounts
from sae.text.row_shapes import RowShape, found_note
from sae.text.source_documents import SourceDocuments
from sae.text.source_findings import SourceFindings


def write_dataset(
    files: Sequence[SourceFile], options: DatasetOptions, folder: Path, splits: Mapping[str, str] | None = None
) -> Generator[int, None, dict[str, Any]]:
    """Writes all documents into `folder`, in one pass. Gives the number of files read so far after each document.

    Returns what `dataset_summary` says. `splits` as SourceDocuments takes it. Raises DatasetError.
    """
    source = SourceDocuments(files, options, splits)
    info, statistics = yield from _write(source, folder)
    if has_train_alone(source.findings(), options):
        source = SourceDocuments(files, options, splits, ignore_splits=True)
        info, statistics = yield from _write(source, folder)
    return dataset_summary(source.findings(), source.shape, info, statistics.figures(), options)


def _write(source: SourceDocuments, folder: Path) -> Generator[int, None, tuple[DatasetInfo, DocumentStatistics]]:
    writer, statistics = DatasetWriter(folder), DocumentStatistics(source.options.near_duplicates)
    for document in source:
        writer.add(document)
        statistics.add(document.split, document.text)
        yield source.files_done
    if not writer.documents:
        raise no_documents([file.name for file in source.files], source.counts)
    return writer.finish(), statistics


def has_train_alone(found: SourceFindings, options: DatasetOptions) -> bool:
    """Whether all documents go by the held-out choice, for the source has split train alone."""
    return found.source_splits == {"train"} and options.heldout_fraction > 0


def no_documents(names: Iterable[str], counts: ContentCounts) -> DatasetError:
    """The error for files of these names without a document."""
    return DatasetError(
        f"the dataset is empty: no document of {listed(names)} has any text "
        f"({counts.empty} rows without text, {counts.invalid} that are no valid Unicode, "
        f"{counts.long} above dataset.max_document_bytes, {counts.malformed} with a chat that cannot be read)"
    )


def dataset_summary(
    found: SourceFindings,
    shape: RowShape | None,
    info: DatasetInfo,
    statistics: dict[str, Any],
    options: DatasetOptions,
) -> dict[str, Any]:
    """{"documents", "text_bytes", "splits", "columns", "empty_documents", "invalid_documents", "long_documents",
    "malformed_chats", "notes", "statistics"} of a dataset whose documents have `shape`."""
    return {
        "documents": info.documents,
        "text_bytes": info.text_bytes,
        "splits": info.splits,
        "columns": info.columns,
        "empty_documents": found.counts.empty,
        "invalid_documents": found.counts.invalid,
        "long_documents": found.counts.long,
        "malformed_chats": found.counts.malformed,
        "notes": _notes(found, shape, info, options),
        "statistics": statistics,
    }


def _notes(found: SourceFindings, shape: RowShape | None, info: DatasetInfo, options: DatasetOptions) -> list[str]:
    notes = []
    if found.source_splits == {"train"} and "test" in info.splits:
        notes.append(f"the source has split train alone: heldout_fraction {options.heldout_fraction:g} made split test")
    if "test" not in info.splits:
        others = ", ".join(info.splits)
        notes.append(
            f"no document is of split test, which evaluation reads by default; there are {info.documents:,} "
            f"of {others}: raise dataset.heldout_fraction (now {options.heldout_fraction:g}), or set `split` there"
        )
    counts = found.counts
    if shape is not None and (note := found_note(shape, options)):
        notes.append(note)
    if counts.invalid:
        done = "replaced in" if options.invalid_text == "replace" else "the reason to leave out"
        notes.append(f"characters that are no valid Unicode were {done} {counts.invalid:,} documents")
    if counts.long:
        done = "cut to that size" if options.long_documents == "cut" else "left out"
        notes.append(f"{counts.long:,} documents had more than {options.max_document_bytes:,} bytes and were {done}")
    if counts.malformed:
        notes.append(
            f"{counts.malformed:,} chats could not be read and were left out; the first: {shortened(counts.first_malformed, 250)}"
        )
    if counts.nulls:
        notes.append(f"null stood in columns of the template {counts.nulls:,} times and became an empty text")
    if found.left_out:
        notes.append(f"columns that hold no plain values were left out: {listed(sorted(found.left_out))}")
    return notes
