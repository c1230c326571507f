"""The two passes of tokenizing, each on one piece of work: a chunk of documents, and an output shard."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from sae.formats.tokens import write_shard
from sae.text.flat_tokens import ChunkCounts, Flat, write_flat
from sae.text.layout import Shard, SplitLayout, row_order
from sae.text.packing import pack_rows
from sae.text.tokenizer_spec import Facts


@lru_cache(maxsize=2)
def _encoder(text: str) -> Any:
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_str(text)
    encoder.no_truncation()
    encoder.no_padding()
    return encoder


def tokenize_chunk(documents: pa.Table, facts: Facts, path: Path) -> ChunkCounts:
    """First pass: documents (columns doc, split, text) to a flat token file. Whole documents, nothing cut or added."""
    encoded = _encoder(facts.encoder).encode_batch_fast(documents.column("text").to_pylist(), add_special_tokens=False)
    docs, splits = documents.column("doc").to_pylist(), documents.column("split").to_pylist()
    return write_flat(path, docs, splits, [encoding.ids for encoding in encoded], facts)


def pack_shard(
    shard: Shard,
    layout: SplitLayout,
    flat: Callable[[int], Flat],
    facts: Facts,
    context_length: int,
    seed: int,
    attention_mask: bool,
    path: Path,
) -> None:
    """Second pass: one output file of packed rows in shuffled order. `flat(c)` gives the tokens of chunk c."""
    rows = row_order(layout.split, layout.rows, seed)[shard.start : shard.stop]
    packed = pack_rows(rows, layout, flat, facts, context_length)
    write_shard(path, shard.split, packed.input_ids, packed.roles, packed.segments, attention_mask)
