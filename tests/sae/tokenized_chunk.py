"""Documents to a flat token file, as the tokenize stage's tasks make it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from sae.text.chat_tokens import ChatRendering
from sae.text.flat_tokens import ChunkCounts, encode_chunk, write_flat
from sae.text.tokenizer_spec import TokenizerSpec


def tokenize_chunk(
    documents: pa.Table,
    spec: TokenizerSpec,
    path: Path,
    first_document: int = 0,
    metadata: pa.StructArray | None = None,
    chats: ChatRendering | None = None,
) -> ChunkCounts:
    """Writes the file `path`; gives its counts."""
    docs, splits, tokens, metadata, speakers = encode_chunk(
        documents, spec, path.parent, first_document, metadata, chats
    )
    return write_flat(path, docs, splits, tokens, spec, metadata, speakers)
