"""Tokens of texts by their segments: texts are cut wherever it is safe, and each different segment is encoded once.

Most segments are a word or two, so few of them are new, and a look-up takes a fraction of the time of the tokenizer's own
steps. The tokens are those of the whole texts (sae/text/safe_cuts.py).
"""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sae.text.safe_cuts import VISIBLE, SafeCuts

MOST_KNOWN = 1 << 18  # segments whose tokens are kept from one call to the next
MOST_NEW = 0.5  # share of the bytes in new segments above which texts are encoded whole, which is faster then
LONGEST_KNOWN = 64  # bytes of a segment that is kept; longer ones seldom occur twice
_SPACE, _LINE_END = b" \n"
_LETTER, _DIGIT, _OTHER, _UNSEEN = range(4)
_KIND = np.full(256, _UNSEEN, np.uint8)  # of a byte
for _byte in VISIBLE:
    _KIND[_byte] = _LETTER if chr(_byte).isalpha() else _DIGIT if chr(_byte).isdigit() else _OTHER


class TextTokens(NamedTuple):
    """The tokens of texts one behind the other: ids int32 [n], and where those of each text begin and end int64 [texts + 1]."""

    ids: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]

    def of_text(self, number: int) -> npt.NDArray[np.int32]:
        """The ids of one text."""
        return self.ids[self.ends[number] : self.ends[number + 1]]


class SegmentEncoder:
    """Encodes texts with a tokenizer whose texts may be cut. It remembers the tokens of short segments."""

    def __init__(self, tokenizer: Any, cuts: SafeCuts, most_known: int = MOST_KNOWN) -> None:
        self._tokenizer, self.cuts, self._most_known = tokenizer, cuts, most_known
        self._before, self._after, self._visible = map(_byte_class, (cuts.before, cuts.after, VISIBLE))
        self._known: dict[str, bytes] = {}  # tokens as int32

    def encode(self, texts: pa.Array) -> TextTokens:
        """The tokens of texts (large_string), without special tokens of their own."""
        segments, ends = self._segments(texts)
        different = segments.dictionary_encode()
        words: list[str] = different.dictionary.cast(pa.large_string()).to_pylist()
        new = [word for word in words if word not in self._known]
        if sum(map(len, new)) > MOST_NEW * segments.nbytes:
            return self._whole(texts)
        parts = self._parts(words, new)
        sizes = np.asarray([len(part) for part in parts], np.int64) // 4
        number = different.indices.to_numpy()
        lengths = sizes[number]
        stops = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])[number]
        ids = np.frombuffer(b"".join(parts), np.int32)
        taken = np.arange(stops[-1]) + np.repeat(begins - stops[:-1], lengths)
        return TextTokens(ids[taken], stops[ends])

    def _segments(self, texts: pa.Array) -> tuple[pa.LargeBinaryArray, npt.NDArray[np.int64]]:
        """The segments of all texts, and how many there are before each text and behind the last one."""
        offsets, data = _offsets_and_data(texts)
        borders = np.zeros(len(data) + 1, bool)
        borders[offsets] = True
        spaces = self._between(data, _SPACE, self._before)
        spaces = spaces[~(borders[spaces] | borders[spaces + 1])]
        starts = borders.copy()
        starts[spaces] = True
        if self.cuts.lines:
            line_ends = self._between(data, _LINE_END, self._visible)
            starts[line_ends[~borders[line_ends]] + 1] = True
        if self.cuts.kinds:
            kind = _KIND[data]
            starts[1:-1] |= (kind[:-1] != kind[1:]) & (kind[:-1] <= _DIGIT) & (kind[1:] < _UNSEEN)
        at = np.flatnonzero(starts)
        ends = np.searchsorted(at, offsets)
        if self.cuts.drops_space:
            dropped = np.zeros(len(data) + 1, bool)
            dropped[spaces] = True
            data, at = data[~dropped[:-1]], at - (np.cumsum(dropped) - dropped)[at]
        buffers = [None, pa.py_buffer(at.astype(np.int64)), pa.py_buffer(data)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(at) - 1, buffers), ends

    def _between(self, data: npt.NDArray[np.uint8], byte: int, before: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Where a byte is, between one of the class `before` and one that may follow a cut."""
        at = np.flatnonzero(data[1:-1] == byte) + 1
        return at[before[data[at - 1]] & self._after[data[at + 1]]]

    def _parts(self, segments: list[str], new: list[str]) -> list[bytes]:
        """The tokens int32 of different segments; `new` are those that are not known yet."""
        known = self._known
        encoded = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        found = {segment: array("i", one.ids).tobytes() for segment, one in zip(new, encoded, strict=True)}
        parts = [known.get(segment) or found.get(segment, b"") for segment in segments]
        if len(known) + len(found) > self._most_known:
            known.clear()
        known.update((segment, ids) for segment, ids in found.items() if len(segment) <= LONGEST_KNOWN)
        return parts

    def _whole(self, texts: pa.Array) -> TextTokens:
        """The same by the tokenizer alone."""
        encoded = self._tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        ids = [np.asarray(one.ids, np.int32) for one in encoded]
        ends = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        return TextTokens(np.concatenate([np.zeros(0, np.int32), *ids]), ends)


def _byte_class(members: bytes) -> npt.NDArray[np.bool_]:
    known = np.zeros(256, bool)
    known[list(members)] = True
    return known


def _offsets_and_data(texts: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where texts begin and end in their bytes, and the bytes. No copy is made of them."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    every = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return ends - ends[0], every[ends[0] : ends[-1]]
