"""Where the segments of texts begin: everywhere that a tokenizer's texts may be cut (sae/text/safe_cuts.py)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.text.safe_cuts import VISIBLE, SafeCuts

_SPACE, _LINE_END = b" \n"
_APOSTROPHE = ord("'")
_LETTER, _DIGIT, _OTHER, _WHITE, _UNSEEN = range(5)
_KIND = np.full(256, _UNSEEN, np.uint8)  # of a byte
for _byte in VISIBLE:
    _KIND[_byte] = _LETTER if chr(_byte).isalpha() else _DIGIT if chr(_byte).isdigit() else _OTHER
_KIND[list(b" \t\r\n")] = _WHITE

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


class SegmentBorders(NamedTuple):
    """`starts` bool [bytes + 1]: a segment begins, or the last one ends. `spaces` int64: cuts before a space, no text's begin."""

    starts: Flags
    spaces: npt.NDArray[np.int64]


class BorderFinder:
    """Finds the borders of segments in texts that stand one behind the other."""

    def __init__(self, cuts: SafeCuts) -> None:
        self._cuts = cuts
        self._before, self._after, self._visible = map(_byte_class, (cuts.before, cuts.after, VISIBLE))

    def find(self, data: Bytes, offsets: npt.NDArray[np.int64]) -> SegmentBorders:
        """The borders in texts `data`, the first of which begins at offsets[0] = 0 and the last of which ends at offsets[-1]."""
        borders = np.zeros(len(data) + 1, bool)
        borders[offsets] = True
        spaces = self._between(data, _SPACE, self._before)
        spaces = spaces[~(borders[spaces] | borders[spaces + 1])]
        starts = borders.copy()
        starts[spaces] = True
        if self._cuts.lines:
            line_ends = self._between(data, _LINE_END, self._visible)
            starts[line_ends[~borders[line_ends]] + 1] = True
        if self._cuts.kinds:
            kind = _KIND[data]
            starts[1:-1] |= (kind[:-1] != kind[1:]) & (kind[:-1] <= _DIGIT) & (kind[1:] <= _OTHER)
            if self._cuts.words:
                _add_words(starts, data, kind, borders, self._cuts.white_before_digits)
            if self._cuts.digits:
                starts[1:-1] |= (kind[:-1] == _DIGIT) & (kind[1:] == _DIGIT)
        return SegmentBorders(starts, spaces)

    def _between(self, data: Bytes, byte: int, before: Flags) -> npt.NDArray[np.int64]:
        """Where a byte is, between one of the class `before` and one that may follow a cut."""
        at = np.flatnonzero(data[1:-1] == byte) + 1
        return at[before[data[at - 1]] & self._after[data[at + 1]]]


def _add_words(starts: Flags, data: Bytes, kind: Bytes, borders: Flags, before_digits: bool) -> None:
    """Adds the borders around words. What is said of a text's first or last byte holds there too, but for `last`."""
    first, second = kind[:-1], kind[1:]
    starts[1:-1] |= (first <= _OTHER) & (second == _WHITE)
    starts[1:-1] |= (first == _OTHER) & (second <= _DIGIT) & (data[:-1] != _APOSTROPHE)
    ends = (
        (kind[1:-1] == _WHITE) & (kind[2:] <= _OTHER) & ~borders[2:-1]
    )  # white space, before a character of the same text
    last = ends & (kind[:-2] == _WHITE)  # of several white characters
    if not before_digits:
        last &= kind[2:] != _DIGIT
    starts[1:-2] |= last
    starts[2:-1] |= ends & (last | (kind[:-2] <= _OTHER)) & (data[1:-1] != _SPACE)


def _byte_class(members: bytes) -> Flags:
    known = np.zeros(256, bool)
    known[list(members)] = True
    return known
