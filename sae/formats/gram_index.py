"""Which row groups of a documents file can hold a substring: beside each file, bits for runs of 6 bytes ("grams").

A search reads only row groups that hold all grams of its substring. Bits are of hashes of grams, so a row group may be
read in vain, but none is left out that has a match. Letters A to Z count as a to z, so that one index serves searches that
ignore case. Bits take about 7% of the bytes of the text, and an eighth at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save

from sae.formats.long_text import Text, text_pieces

GRAM = 6  # bytes: fewer are found everywhere, more would leave out shorter substrings
_MOST_BITS = 19  # of hashes: 64 KiB for a row group of 1 MiB of text
_LEAST_BITS = 10
_FACTORS = np.array([2_654_435_769, 2_246_822_519, 3_266_489_917], np.uint32)
_TENSOR = "row_groups_by_gram"


def index_name(documents_name: str) -> str:
    """Name of the file beside a documents file."""
    return f"{documents_name.removesuffix('.parquet')}.grams.safetensors"


class GramIndexWriter:
    """Takes the texts of a documents file, row group by row group."""

    def __init__(self) -> None:
        self._groups: list[npt.NDArray[np.uint8]] = []  # a bit for each hash
        self._text_bytes = 0

    def add(self, texts: Sequence[Text]) -> None:
        """Takes the texts of the next row group."""
        seen = np.zeros(1 << _MOST_BITS, bool)
        whole = texts[0] if len(texts) == 1 else "\0".join(map(str, texts))
        for piece in text_pieces(whole, GRAM):  # a large document is alone, and is not copied as a whole
            data = piece.encode().lower()
            seen[_hashes(data)] = True
            self._text_bytes += len(data)
        self._groups.append(np.packbits(seen))

    def save(self, path: Path) -> None:
        """Writes uint8 [hashes, row groups / 8]: bit 7 of the first byte is the first row group."""
        seen = np.stack([np.unpackbits(group).astype(bool) for group in self._groups])
        most = int(seen.sum(axis=1).max())
        most_bytes = self._text_bytes // 8 // -(-len(seen) // 8)  # for each byte of row groups
        # Half of the bits or fewer are set, as far as the size allows.
        bits = min(_MOST_BITS, (2 * most - 1).bit_length(), most_bytes.bit_length() - 1)
        bits = max(_LEAST_BITS, bits)
        folded = seen.reshape(len(seen), 1 << bits, -1).any(axis=2)
        path.write_bytes(save({_TENSOR: np.ascontiguousarray(np.packbits(folded, axis=0).T)}))


def grams_of(text: str, ignore_case: bool) -> list[bytes]:
    """Grams that a text holds wherever this substring is. Empty for a short substring: it can be in any row group."""
    data = text.encode().lower()
    grams = {data[i : i + GRAM] for i in range(len(data) - GRAM + 1)}
    if ignore_case:  # other letters have other cases, and k and s have one beyond ASCII (the Kelvin sign, the long s)
        grams = {gram for gram in grams if gram.isascii() and not set(b"ks") & set(gram)}
    return sorted(grams)


def groups_with(path: Path, grams: Sequence[bytes]) -> npt.NDArray[np.bool_]:
    """Which row groups may hold all grams: bool [row groups or more], False beyond the last one."""
    with safe_open(path, framework="numpy") as file:
        rows = file.get_slice(_TENSOR)
        hashes, width = rows.get_shape()
        found = np.full(width, 255, np.uint8)
        for gram in grams:
            row = int(_hashes(gram)[0]) >> (_MOST_BITS - (hashes.bit_length() - 1))
            found &= rows[row : row + 1][0]
    return np.unpackbits(found).astype(bool)


def _hashes(data: bytes) -> npt.NDArray[np.uint32]:
    """Hashes of all grams of a text, of _MOST_BITS bits. Their leading bits are those of a smaller index."""
    found = []
    for start in range(4):
        # The first and the last four of the six bytes.
        last = _words(data, start + GRAM - 4)
        first = _words(data, start)[: len(last)]
        mixed = (first ^ (first >> np.uint32(15))) * _FACTORS[0] + (last ^ (last >> np.uint32(13))) * _FACTORS[1]
        found.append(((mixed ^ (mixed >> np.uint32(16))) * _FACTORS[2]) >> np.uint32(32 - _MOST_BITS))
    return np.concatenate(found)


def _words(data: bytes, start: int) -> npt.NDArray[np.uint32]:
    """Each fourth run of four bytes from a byte on, as a number."""
    count = max(0, len(data) - start) // 4
    return np.frombuffer(data, "<u4", count, start) if count else np.zeros(0, np.uint32)
