"""Documents that are nearly equal, found by MinHash: sets of shingles compared by 128 minima of hashes.

A shingle is 9 consecutive characters of a text in lower case, its white space made one blank. The share of equal minima of
two documents estimates the Jaccard similarity of their sets, with a standard error of 4 points or less. Only documents
that agree in a whole band of 4 minima are compared (locality-sensitive hashing), so the time grows with the documents
and not with their pairs. https://doi.org/10.1109/SEQUEN.1997.666900 (Broder, 1997).
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sae.formats.long_text import Text, text_pieces

SHINGLE = 9
MINIMA = 128
BAND = 4  # minima; documents of similarity 0.8 agree in one of the 32 bands with probability 0.99999, of 0.6 with 0.99
_SHOWN = 10
_PAIRS = 1 << 14  # compared at once
# Fixed for ever: odd factors and offsets of 32 bits, which permute hashes of 32 bits.
_WORDS = np.random.PCG64(20_240_601).random_raw(2 * MINIMA).astype(np.uint32)
_FACTORS, _OFFSETS = _WORDS[:MINIMA] | np.uint32(1), _WORDS[MINIMA:]
_MIX = np.uint64(0x9E3779B97F4A7C15)


class MinHashes:
    """The minima of documents, in their order, in a temporary file: 512 bytes a document."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self.documents = 0

    def add(self, texts: Sequence[Text]) -> None:
        """Takes the next documents."""
        self.add_rows(minima(texts))

    def add_rows(self, rows: npt.NDArray[np.uint32]) -> None:
        """Takes the minima of the next documents: uint32 [n, MINIMA]."""
        self._file.seek(0, 2)
        self._file.write(rows.tobytes())
        self.documents += len(rows)

    def merge(self, other: MinHashes) -> None:
        """Takes the documents of another, behind its own."""
        for start in range(0, other.documents, 1 << 16):
            self.add_rows(other.all()[start : start + (1 << 16)])

    def all(self) -> npt.NDArray[np.uint32]:
        """uint32 [documents, MINIMA], mapped from the file."""
        self._file.flush()
        if not self.documents:
            return np.zeros((0, MINIMA), np.uint32)
        return np.memmap(self._file, np.uint32, "r", shape=(self.documents, MINIMA))


def minima(texts: Sequence[Text]) -> npt.NDArray[np.uint32]:
    """The least value of each permuted hash over the shingles of each text: uint32 [texts, MINIMA].

    A long text is cut into pieces of 1 Mi characters, so that memory is bounded; shingles over a cut do not count.
    """
    pieces = [text_pieces(text) for text in texts]
    found = _minima([next(own) for own in pieces])
    for row, own in zip(found, pieces, strict=True):
        for piece in own:
            np.minimum(row, _minima([piece])[0], out=row)
    return found


def _minima(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    if not texts:
        return np.zeros((0, MINIMA), np.uint32)
    # A text that is shorter than a shingle is one shingle, filled up with zeros.
    plain = [" ".join(text.lower().split()).ljust(SHINGLE, "\0") for text in texts]
    codes = np.frombuffer("".join(plain).encode("utf-32-le"), "<u4")
    hashed = _shingle_hashes(codes)
    starts = np.cumsum([0, *(len(text) for text in plain)])
    # Positions from which a whole shingle lies inside its text.
    inside = np.ones(len(codes), bool)
    inside[(starts[1:, None] - np.arange(1, SHINGLE)).reshape(-1)] = False
    kept = hashed[inside[: len(hashed)]]
    begins = starts[:-1] - np.arange(len(texts)) * (SHINGLE - 1)
    found = np.empty((len(texts), MINIMA), np.uint32)
    for i in range(MINIMA):
        found[:, i] = np.minimum.reduceat(kept * _FACTORS[i] + _OFFSETS[i], begins)
    return found


def _shingle_hashes(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """A hash of 32 bits of the SHINGLE code points from each position that has so many: uint32 [n - SHINGLE + 1]."""
    n = len(codes) - SHINGLE + 1
    value = np.zeros(n, np.uint64)
    for i in range(SHINGLE):
        value = (value ^ codes[i : i + n]) * _MIX
        value ^= value >> np.uint64(29)
    return (value >> np.uint64(32)).astype(np.uint32)


def near_duplicate_figures(hashes: MinHashes, similarity: float) -> dict[str, Any]:
    """Figures of groups of documents that are linked by pairs of at least `similarity`; equal documents are among them.

    `documents`: beyond the first of each group. `groups`: those of two or more. `largest`: by their first documents.
    """
    rows = hashes.all()
    parents = np.arange(len(rows))
    for one, other in _similar_pairs(rows, similarity).tolist():
        a, b = _root(parents, one), _root(parents, other)
        parents[max(a, b)] = min(a, b)  # so the root of a group is its first document
    beyond_first = np.flatnonzero(parents != np.arange(len(rows))).tolist()
    roots = np.array([_root(parents, i) for i in beyond_first], np.int64)
    first, beyond = np.unique(roots, return_counts=True)
    largest = np.lexsort((first, -beyond))[:_SHOWN]
    return {
        "similarity": similarity,
        "documents": len(roots),
        "groups": len(first),
        "largest": [{"doc": int(first[i]), "documents": int(beyond[i]) + 1} for i in largest],
    }


def _root(parents: npt.NDArray[np.int64], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = int(parents[i])
    return i


def _similar_pairs(rows: npt.NDArray[np.uint32], similarity: float) -> npt.NDArray[np.int64]:
    """Pairs int64 [p, 2] of documents, neighbours in some band, whose estimated similarity is high enough."""
    pairs = [np.zeros((0, 2), np.int64)]
    for start in range(0, MINIMA, BAND):
        key = np.zeros(len(rows), np.uint64)
        for i in range(start, start + BAND):
            key = (key ^ rows[:, i]) * _MIX
            key ^= key >> np.uint64(29)
        order = np.argsort(key, kind="stable")
        equal = np.flatnonzero(key[order[1:]] == key[order[:-1]])
        candidates = np.stack([order[equal], order[equal + 1]], axis=1)
        pairs += [
            part[np.mean(rows[part[:, 0]] == rows[part[:, 1]], axis=1) >= similarity]
            for part in np.array_split(candidates, max(1, len(candidates) // _PAIRS))
        ]
    return np.unique(np.concatenate(pairs), axis=0)
