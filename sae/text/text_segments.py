"""Tokens of texts by their segments: texts are cut wherever it is safe, and each different segment is encoded once.

Most segments are a word or two, so few of them are new, and a look-up takes a fraction of the time of the tokenizer's own
steps. The tokens are those of the whole texts (sae/text/safe_cuts.py).
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sae.text.joined_segments import JoinedSegments, TextTokens, gathered, text_tokens
from sae.text.safe_cuts import SafeCuts
from sae.text.segment_borders import BorderFinder

MOST_KNOWN = 1 << 20  # segments whose tokens are kept from one call to the next
MOST_NEW = 0.5  # share of the bytes in new segments above which texts are encoded whole, which is faster then
LONGEST_KNOWN = 64  # bytes of a segment that is kept; longer ones seldom occur twice


class SegmentEncoder:
    """Encodes texts with a tokenizer whose texts may be cut. It remembers the tokens of short segments."""

    def __init__(self, tokenizer: Any, cuts: SafeCuts, most_known: int = MOST_KNOWN) -> None:
        self._tokenizer, self.cuts, self._most_known = tokenizer, cuts, most_known
        self._borders = BorderFinder(cuts)
        self._new_segments = JoinedSegments(tokenizer, cuts)
        self._number: dict[str, int] = {}  # of the segments that are known
        self._tokens = text_tokens([])  # of these, by number

    def encode(self, texts: pa.Array) -> TextTokens:
        """The tokens of texts (large_string), without special tokens of their own."""
        if len(self._number) > self._most_known:
            self._number, self._tokens = {}, text_tokens([])
        segments, ends = self._segments(texts)
        different = segments.dictionary_encode()
        words: list[str] = different.dictionary.cast(pa.large_string()).to_pylist()
        numbers = np.fromiter(map(self._number.get, words, repeat(-1)), np.int64, len(words))
        new = [words[i] for i in np.flatnonzero(numbers < 0).tolist()]
        if sum(map(len, new)) > MOST_NEW * segments.nbytes:
            return self._new_segments.encode_each(texts.to_pylist())
        tokens = self._tokens
        if new:
            tokens, numbers[numbers < 0] = self._with_new(new)
        each = numbers[different.indices.to_numpy()]
        begins = tokens.ends[each]
        found = gathered(tokens, begins, tokens.ends[each + 1] - begins)
        return TextTokens(found.ids, found.ends[ends])

    def _with_new(self, segments: list[str]) -> tuple[TextTokens, npt.NDArray[np.int64]]:
        """The tokens of known segments and of new ones, and the numbers of the latter. Short ones are known from now on."""
        is_long = np.asarray([len(segment) > LONGEST_KNOWN for segment in segments], bool)
        order = np.argsort(is_long, kind="stable")  # what is kept comes first
        encoded = self._new_segments.encode([segments[i] for i in order.tolist()])
        known = self._tokens
        ids, ends = (
            np.concatenate([known.ids, encoded.ids]),
            np.concatenate([known.ends, encoded.ends[1:] + len(known.ids)]),
        )
        numbers = np.empty(len(segments), np.int64)
        numbers[order] = np.arange(len(segments)) + len(known.ends) - 1
        kept = len(ends) - int(is_long.sum())
        self._tokens = TextTokens(ids[: ends[kept - 1]], ends[:kept])
        self._number.update(
            (segment, number) for segment, number in zip(segments, numbers.tolist(), strict=True) if number < kept - 1
        )
        return TextTokens(ids, ends), numbers

    def _segments(self, texts: pa.Array) -> tuple[pa.LargeBinaryArray, npt.NDArray[np.int64]]:
        """The segments of all texts, and how many there are before each text and behind the last one."""
        offsets, data = _offsets_and_data(texts)
        starts, spaces = self._borders.find(data, offsets)
        at = np.flatnonzero(starts)
        ends = np.searchsorted(at, offsets)
        if self.cuts.drops_space:
            dropped = np.zeros(len(data) + 1, bool)
            dropped[spaces] = True
            data, at = data[~dropped[:-1]], at - (np.cumsum(dropped) - dropped)[at]
        buffers = [None, pa.py_buffer(at.astype(np.int64)), pa.py_buffer(data)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(at) - 1, buffers), ends


def _offsets_and_data(texts: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where texts begin and end in their bytes, and the bytes. No copy is made of them."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    every = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return ends - ends[0], every[ends[0] : ends[-1]]
