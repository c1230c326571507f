"""Which scripts documents are written in: letters by Unicode block, counted for many documents at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.formats.long_text import PIECE, Text, text_pieces

_CODES = 0x110000
_ASCII_LETTERS = bytes(chr(code).isalpha() and code < 128 for code in range(256))


class Blocks(NamedTuple):
    """`names` of Unicode's blocks; `of` int16 [code points]: the block of each letter, -1 where it is no letter."""

    names: list[str]
    of: npt.NDArray[np.int16]


@lru_cache(maxsize=1)
def blocks() -> Blocks:
    """Unicode's blocks. Every block begins at a multiple of 16."""
    from fontTools.unicodedata import block

    by_16 = [str(block(chr(code))) for code in range(0, _CODES, 16)]
    names = list(dict.fromkeys(by_16))
    numbers = {name: number for number, name in enumerate(names)}
    of = np.repeat(np.array([numbers[name] for name in by_16], np.int16), 16)
    of[[not chr(code).isalpha() for code in range(_CODES)]] = -1
    return Blocks(names, of)


class Letters(NamedTuple):
    """Letters of texts by block: `letters` int64 [n] characters of text `text` are of block `block`. Sorted by both."""

    text: npt.NDArray[np.int64]
    block: npt.NDArray[np.int64]
    letters: npt.NDArray[np.int64]


def letters_by_block(texts: Sequence[Text]) -> Letters:
    """The letters (characters of which `str.isalpha` is true) of each text. Memory: 30 bytes for each of 1 Mi characters."""
    key = letters = np.zeros(0, np.int64)
    width = len(blocks().names)
    for part in _parts(texts):
        others = [(number, text) for number, text in part if not text.isascii()]
        found = [(key, letters), _ascii(part), _others(others)]
        # A text that was cut has several counts of one block.
        key, which = np.unique(np.concatenate([keys for keys, _ in found]), return_inverse=True)
        letters = np.zeros(len(key), np.int64)
        np.add.at(letters, which, np.concatenate([counts for _, counts in found]))
    return Letters(key // width, key % width, letters)


def main_blocks(found: Letters) -> npt.NDArray[np.int64]:
    """The block of most letters of each text that has any; of equal ones the first. int64 [texts with letters]."""
    order = np.lexsort((found.block, -found.letters, found.text))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(found.text[order]) != 0
    return found.block[order[first]]


def _parts(texts: Sequence[Text]) -> Iterator[list[tuple[int, str]]]:
    """Texts with their numbers, in parts of 1 Mi characters or little more; a long text is cut."""
    part: list[tuple[int, str]] = []
    size = 0
    for number, text in enumerate(texts):
        for piece in text_pieces(text):
            part.append((number, piece))
            size += len(piece)
            if size >= PIECE:
                yield part
                part, size = [], 0
    yield part


def _ascii(part: list[tuple[int, str]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Keys (text and block) and ASCII letters of texts, given with their numbers."""
    marked = (np.frombuffer(text.encode().translate(_ASCII_LETTERS), np.bool_) for _, text in part)
    letters = np.array([np.count_nonzero(of_text) for of_text in marked], np.int64)
    numbers = np.array([number for number, _ in part], np.int64)
    names, of = blocks()
    return (numbers * len(names) + of[ord("a")])[letters > 0], letters[letters > 0]


def _others(part: list[tuple[int, str]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Keys and letters of the characters that are not ASCII: of most texts few, so that only these are decoded."""
    names, of = blocks()
    numbers = np.array([number for number, _ in part], np.int64)
    encoded = [text.encode() for _, text in part]
    ends = np.cumsum([0, *map(len, encoded)])
    values = np.frombuffer(b"".join(encoded), np.uint8)
    characters = values[values >= 0x80].tobytes().decode()
    if not characters:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first_bytes = np.concatenate([[0], np.cumsum(values >= 0xC0, dtype=np.int32)])
    block = of[np.frombuffer(characters.encode("utf-32-le"), "<u4")]
    present = np.flatnonzero(np.bincount(block + 1, minlength=len(names) + 1))  # and 0 where a character is no letter
    column = np.zeros(len(names) + 1, np.int64)
    column[present] = np.arange(len(present))
    owner = np.repeat(np.arange(len(numbers)) * len(present), np.diff(first_bytes[ends]))
    counts = np.bincount(owner + column[block + 1], minlength=len(numbers) * len(present)).reshape(len(numbers), -1)
    row, which = np.nonzero(counts * (present > 0))
    return numbers[row] * len(names) + present[which] - 1, counts[row, which]
