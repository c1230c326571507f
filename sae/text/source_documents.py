"""Source files to documents: which rows are documents, of which split, and with which other columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from configs.download import DatasetOptions
from sae.formats.dataset import OWN_COLUMNS, DatasetError, Document
from sae.formats.long_text import LongText
from sae.quoting import printable, quoted, shortened, shortened_path
from sae.text.document_limits import replace_invalid
from sae.text.readers import SourceFile, SourceRow
from sae.text.readers.open_file import DAMAGED
from sae.text.row_content import ContentCounts, RowContent
from sae.text.row_shapes import RowShape
from sae.text.source_findings import SourceFindings
from sae.text.source_rows import source_rows
from sae.text.splits import canonical_split, heldout_split, splits_by_file

MOST_COLUMNS = 1000  # beside the text; a file of JSON Lines may have another key in each row


class SourceDocuments:
    """The documents of a source's files, in the order of sorted file names.

    `splits`: the split of each file where that is known already, else it is read from their names. With
    `ignore_splits` all documents go by the held-out choice. Documents without a visible character are left out and
    counted in `empty`, those that are no valid Unicode in `invalid`, those above the largest size in `long`;
    `left_out` has the columns that are not kept, `source_splits` the splits that the source itself gave, and `shape`
    what documents are made of, once a row has said it. Iterating raises DatasetError that names the file.

    Of a chunk of a source: `is_chunk`, and `shape` if rows of earlier chunks have said it. If no row of it says anything,
    rows of later chunks will.
    """

    def __init__(
        self,
        files: Sequence[SourceFile],
        options: DatasetOptions,
        splits: Mapping[str, str] | None = None,
        ignore_splits: bool = False,
        shape: RowShape | None = None,
        is_chunk: bool = False,
    ) -> None:
        self.files = sorted_files(files)
        self.options = options
        self.files_done = 0
        self.source_splits: set[str] = set()
        self.left_out: set[str] = set()
        self._content = RowContent(options, shape)
        self._columns: dict[str, str] = {}  # of the source's rows, with their names in the dataset
        self._ignore_splits, self._is_chunk = ignore_splits, is_chunk
        self._file_splits = file_splits(self.files) if splits is None else splits

    @property
    def counts(self) -> ContentCounts:
        """How many rows were no documents, and why."""
        return self._content.counts

    def findings(self) -> SourceFindings:
        """What was found so far."""
        return SourceFindings(self.counts, self.source_splits, self.left_out, list(self._columns))

    @property
    def shape(self) -> RowShape | None:
        """What documents are made of; None before the first row that says it."""
        return self._content.shape

    def __iter__(self) -> Iterator[Document]:
        taken: Counter[str | None] = Counter()
        for file in self.files:
            if not self._is_full(taken, self._file_splits.get(file.name)):
                yield from self._file_documents(file, taken)
            self.files_done += 1
        if not self._is_chunk:
            self._content.check_shape()

    def _file_documents(self, file: SourceFile, taken: Counter[str | None]) -> Iterator[Document]:
        place = "before its first row"
        try:
            for row in source_rows(file, self.options):
                place = f"behind {row.where}"
                content = self._content.of_row(file.name, row)
                split = self._source_split(file, row)
                if content is None:
                    continue
                if self._is_full(taken, split):
                    if self.options.split_column in row.values:
                        continue  # a later row may be of another split
                    break
                taken[split] += 1
                if split is None or self._ignore_splits:
                    split = heldout_split(content.text, self.options.heldout_fraction, self.options.heldout_seed)
                document = [Document(split, content.text, self._other_columns(row), *content[1:])]
                del row, content  # so that a long text, which is in a file by now, is not in memory too
                yield document.pop()
        except DatasetError:
            raise
        except (OSError, ValueError, RecursionError, *DAMAGED) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else shortened(str(error), 200)
            if isinstance(error, (OSError, RecursionError, *DAMAGED)):
                reason += f" ({place})"  # readers themselves know the place of all others
            raise DatasetError(f"cannot read {file.name} ({shortened_path(file.path)}): {reason}") from error

    def _is_full(self, taken: Counter[str | None], split: str | None) -> bool:
        return self.options.max_documents is not None and taken[split] >= self.options.max_documents

    def _source_split(self, file: SourceFile, row: SourceRow) -> str | None:
        """The split that the source gives a row; None if it gives none."""
        column = self.options.split_column
        value = row.values.get(column) if column is not None else None
        if value is None:
            split = self._file_splits.get(file.name)
        else:
            value = str(value) if isinstance(value, LongText) else value
            split = canonical_split(str(value))
            if split is None:
                raise DatasetError(
                    f"{file.name}: column {quoted(column)} of {row.where} holds {quoted(value)}; expected train, "
                    "validation or test (set dataset.split_column to another column, or to null)"
                )
        if split is not None:
            self.source_splits.add(split)
        return split

    def _other_columns(self, row: SourceRow) -> dict[str, str | None]:
        columns: dict[str, str | None] = {}
        used = self._content.used_columns(row)
        if self._content.unread:
            self.left_out |= self._content.unread
        for key, value in row.values.items():
            if key in used or key == self.options.split_column or value is None:
                continue
            name = self._columns.get(key)
            if name is None and len(self._columns) < MOST_COLUMNS:
                name = self._columns[key] = _free_name(replace_invalid(key))
            if name is None or isinstance(value, bytes | list | dict):
                self.left_out.add(name or replace_invalid(key))
            else:
                columns[name] = replace_invalid(str(value))
        return columns


def sorted_files(files: Iterable[SourceFile]) -> list[SourceFile]:
    """Files with printable names, in the order in which they are read."""
    return sorted((file._replace(name=printable(file.name)) for file in files), key=lambda file: file.name)


def file_splits(files: Iterable[SourceFile]) -> Mapping[str, str]:
    """The split of each file, by all of their names; empty if these say none."""
    return splits_by_file([file.name for file in files]) or {}


def _free_name(name: str) -> str:
    """The column's name, out of the way of the dataset's own columns; different names stay different."""
    return f"source_{name}" if _is_reserved(name) else name


def _is_reserved(name: str) -> bool:
    while name.startswith("source_"):
        name = name.removeprefix("source_")
    return name in OWN_COLUMNS
