"""How often each token id occurs in the text of a chunk, as a few bytes for the note beside it; counts of chunks add up."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

MOST_FREQUENT = 50  # tokens that statistics name


class TokenTexts(Protocol):
    """What is used of TokenText."""

    def string(self, token: int) -> str: ...


def pack_counts(counts: npt.NDArray[np.int64]) -> bytes:
    """How often each id occurs in a chunk int64 [ids], packed: distinct ids as steps from one to the next, and counts."""
    values = np.flatnonzero(counts)
    return zlib.compress(np.stack([np.diff(values, prepend=0), counts[values]]).astype("<u4").tobytes(), 1)


def unpack_counts(packed: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct ids int64 [u], ascending, and how often each occurs int64 [u]."""
    steps, counts = np.frombuffer(zlib.decompress(packed), "<u4").reshape(2, -1).astype(np.int64)
    return np.cumsum(steps), counts


def add_counts(parts: Iterable[bytes], id_limit: int) -> npt.NDArray[np.int64]:
    """How often each id occurs in all chunks: int64 [id_limit]."""
    total = np.zeros(id_limit, np.int64)
    for packed in parts:
        ids, counts = unpack_counts(packed)
        total[ids] += counts
    return total


def most_frequent(counts: npt.NDArray[np.int64], texts: TokenTexts, most: int = MOST_FREQUENT) -> list[dict[str, Any]]:
    """The tokens that occur most often, {"id", "text", "count"}; of equal ones the smaller id first."""
    ids = np.argsort(-counts, kind="stable")[:most]
    return [{"id": int(i), "text": texts.string(int(i)), "count": int(counts[i])} for i in ids if counts[i]]
