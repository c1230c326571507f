"""Plain text: a document a file, exactly as it is."""

from __future__ import annotations

from collections.abc import Iterator

from configs.download import DatasetOptions
from sae.formats.long_text import read_at_most
from sae.text.readers import SourceFile, SourceRow
from sae.text.readers.open_file import open_text, rest_is_whole


def read_text(file: SourceFile, options: DatasetOptions) -> Iterator[SourceRow]:
    """One row: the file's text, and its name in the column `file`."""
    with open_text(file) as stream:
        # One character more than a document may have is enough to know that it is too long: a small file may unpack to
        # more than the memory holds.
        text = read_at_most(stream, options.max_document_bytes + 1)
        if len(text) > options.max_document_bytes and options.long_documents != "error":
            rest_is_whole(stream)
        yield SourceRow("the text", {"file": file.name, options.text_column: text})
