"""Documents of one chunk of a source, before their places in the dataset are known: an Arrow file that is read by mapping it.

Beside their texts' sizes that is all that the second pass over a source needs. Other columns are a map, for which ones there
are is known once all chunks have been read.
"""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sae.formats.dataset import (
    MESSAGES,
    MESSAGES_TYPE,
    TEMPLATE_VARIABLES,
    Document,
    message_rows,
    read_messages,
    text_values,
)
from sae.formats.long_text import LONG, PIECE, LongText, Text, utf8_bytes

_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("text", pa.large_string()),
        (MESSAGES, MESSAGES_TYPE),
        (TEMPLATE_VARIABLES, pa.string()),
        ("columns", pa.map_(pa.string(), pa.string())),
    ]
)
_GROUP_BYTES = 1 << 20  # text in one record batch; a longer one is alone
_GROUP_ROWS = 1000


def write_chunk(path: Path, documents: Iterable[Document]) -> npt.NDArray[np.int64]:
    """Writes documents in their order, 1 MiB of text in memory at a time. Gives the bytes of their texts, int64 [n]."""
    sizes = array("q")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        part: list[Document] = []
        part_bytes = 0
        for document in documents:
            size = utf8_bytes(document.text)
            if part and (part_bytes + size > _GROUP_BYTES or len(part) == _GROUP_ROWS):
                _write_part(writer, part)
                part, part_bytes = [], 0
            part.append(document)
            part_bytes += size
            sizes.append(size)
            del document  # so that a long text is not kept until the next one has been read
        if part:
            _write_part(writer, part)
    return np.array(sizes, np.int64)


def _write_part(writer: pa.RecordBatchWriter, part: list[Document]) -> None:
    columns: dict[str, list[Any]] = {
        "split": [document.split for document in part],
        MESSAGES: [message_rows(document) for document in part],
        TEMPLATE_VARIABLES: [document.template_variables for document in part],
        "columns": [list(document.columns.items()) for document in part],
    }
    with text_values(part) as texts:
        writer.write_batch(pa.record_batch({**columns, "text": texts}, schema=_SCHEMA))


def read_chunk(path: Path, start: int, stop: int) -> Iterator[Document]:
    """Documents [start, stop) that write_chunk wrote."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        row = 0
        for number in range(reader.num_record_batches):
            if row >= stop:
                return
            batch = reader.get_batch(number)
            if row + batch.num_rows > start:
                first = max(start - row, 0)
                yield from _documents(batch.slice(first, min(stop - row, batch.num_rows) - first))
            row += batch.num_rows


def _documents(batch: pa.RecordBatch) -> Iterator[Document]:
    texts = iter([_long_text(batch)]) if batch.num_rows == 1 else iter(batch.column("text").to_pylist())
    for row in batch.drop_columns(["text"]).to_pylist():
        yield Document(row["split"], next(texts), dict(row["columns"]), read_messages(row), row[TEMPLATE_VARIABLES])


def _long_text(batch: pa.RecordBatch) -> Text:
    """The only text of a batch, in a file if it is long."""
    data = memoryview(batch.column("text")[0].as_buffer())
    if len(data) <= LONG:
        return str(data, "utf-8")
    decoder = codecs.getincrementaldecoder("utf-8")()
    return LongText(decoder.decode(data[at : at + PIECE], at + PIECE >= len(data)) for at in range(0, len(data), PIECE))
