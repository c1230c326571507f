"""How many bytes a download will take in the store, before it starts: an upper bound from names and sizes."""

from __future__ import annotations

import re

from configs.text_formats import compression_ending, format_ending
from sae.sources.resolved_source import ResolvedSource

# zstd, which datasets are written with, against what a source is compressed with; plain text takes less than half.
_DATASET = {"gz": 2.0, "bz2": 2.5, "xz": 3.0, "zst": 2.0}
_TEXT = {"gz": 4.0, "bz2": 5.0, "xz": 6.0, "zst": 5.0}  # text as it is, against the same
_PACKED = ("parquet", "arrow")
_PLAIN = 0.6
_FLOAT = re.compile(r"(?:^|[^a-z0-9])(bf16|f16|f32)(?:[^a-z0-9]|$)", re.IGNORECASE)
_QUANTISED = re.compile(r"(?:^|[^a-z0-9])(i?)q(\d)", re.IGNORECASE)


def artifact_bytes(source: ResolvedSource, what: str) -> int:
    """Bytes of the artifact that a source becomes, at most; 0 where its size is unknown."""
    if what == "dataset":
        name = source.names[0]
        factor = _DATASET.get(compression_ending(name) or "", 1.5 if format_ending(name) in _PACKED else _PLAIN)
        return int(source.size * factor)
    gguf = next((name for name in source.names if name.lower().endswith(".gguf")), None)
    return source.size if gguf is None else int(source.size * 32 / _bits(gguf))


def text_bytes(source: ResolvedSource) -> int:
    """Bytes of the documents of a dataset's source, about, as they are stored while several workers read it."""
    name = source.names[0]
    return int(source.size * _TEXT.get(compression_ending(name) or "", 4 if format_ending(name) in _PACKED else 1))


def _bits(gguf: str) -> float:
    """Bits a weight of a GGUF file, by its name; a model is stored in fp32."""
    if (found := _FLOAT.search(gguf)) is not None:
        return 32 if found[1].lower() == "f32" else 16
    found = _QUANTISED.search(gguf)
    if found is None or not 1 < int(found[2]) <= 8:
        return 4
    return float(found[2]) + (0 if found[1] else 0.5)  # blocks of plain kinds have a scale of 16 bits for 32 weights
