"""Plain text: a document a file, exactly as it is."""

from __future__ import annotations

from collections.abc import Iterator

from configs.download import DatasetOptions
from sae.text.readers import SourceFile, SourceRow
from sae.text.readers.open_file import open_text


def read_text(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """One row: the file's text, and its name in the column `file`."""
    with open_text(file) as stream:
        yield SourceRow("the text", {"file": file.name, options.text_column: stream.read()})
