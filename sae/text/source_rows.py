"""The rows of a source's file, under the option that says what a document is."""

from __future__ import annotations

from collections.abc import Iterator

from configs.download import DatasetOptions
from configs.text_formats import format_ending
from sae.formats.dataset import DatasetError
from sae.quoting import quoted
from sae.text.json_sections import sections
from sae.text.readers import SourceFile, SourceRow, reader_of
from sae.text.readers.json_files import load_json


def source_rows(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """The rows of a file, read by its format; with `documents: sections` a row for each section of a JSON file.

    Raises DatasetError, OSError or ValueError; a message need not name the file.
    """
    if options.documents != "sections":
        return reader_of(file.name)(file, options)
    if format_ending(file.name) != "json":
        raise DatasetError(f"{file.name}: `documents: sections` reads .json files only; use `documents: rows`")
    return _sections(file, options)


def _sections(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    *_, region, name = ("", *file.name.split("/"))
    folders = {"region": region, "country": name.partition(".")[0]}
    for section, text in sections(load_json(file), options.strip_html):
        where = f"section {quoted(section)}"
        yield SourceRow(where, {**folders, "section": section, options.text_column: text})
