"""The text that labels are found in and tested on: word forms of tokens, phrases that end at a position, and the split.

Tokens that differ only in case or in spaces around them are one form. Positions are flat: row * context_length + position.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.features.sampling import splitmix64

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LONGEST_PHRASE = 3
_FORM_BITS = 21  # three forms in one key of 63 bits
_NEXT = 0  # key number of the form that follows a position


class PositionsOfKeys(NamedTuple):
    """Positions by key: those of the i-th of the ascending `keys` are `positions[starts[i]:starts[i + 1]]`, ascending."""

    keys: Int64
    starts: Int64
    positions: Int64

    def of(self, key: int) -> Int64:
        """Positions of a key; none for a key that does not occur."""
        at = int(np.searchsorted(self.keys, key))
        if at == len(self.keys) or self.keys[at] != key:
            return np.zeros(0, np.int64)
        return self.positions[self.starts[at] : self.starts[at + 1]]


class LabelText:
    """Tokens int [R, L], which are data bool [R, L], their document int64 [R, L] (-1: none), and text of a token.

    `test` and `explain` bool [R * L] are the data positions of either part: each document is in one of them, chosen by a
    hash of its number and the seed. Raises ValueError for more forms than a key can hold.
    """

    def __init__(
        self,
        tokens: npt.NDArray[np.int32],
        data: Mask,
        document: Int64,
        token_text: Callable[[int], str],
        seed: int = 0,
    ) -> None:
        self.rows, self.length = tokens.shape
        self.tokens, self.document = tokens.reshape(-1).astype(np.int64), document.reshape(-1)
        used, where = np.unique(self.tokens, return_inverse=True)
        names = [token_text(int(token)).strip().casefold() for token in used]
        self.forms, form_of = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
        if len(self.forms) >= 1 << _FORM_BITS:
            raise ValueError(f"{len(self.forms)} different tokens: labels are found among {1 << _FORM_BITS} at most")
        self.form: Int64 = form_of[where].astype(np.int64)
        self.number = {str(form): number for number, form in enumerate(self.forms)}
        in_test = documents_in_test(self.document, seed)
        self.test: Mask = data.reshape(-1) & in_test
        self.explain: Mask = data.reshape(-1) & ~in_test
        self._keys: dict[int, Int64] = {}
        self._indexes: dict[int, PositionsOfKeys] = {}

    @cached_property
    def segment_start(self) -> Int64:
        """Of each position, the first of those of its row and document without another document between."""
        at = np.arange(len(self.form))
        begins = (at % self.length == 0) | (np.diff(self.document, prepend=-2) != 0)
        return np.maximum.accumulate(np.where(begins, at, 0))

    def keys(self, length: int) -> Int64:
        """The key of the phrase of `length` forms that ends at each position; -1 where it would leave row or document.

        `length` 0 stands for the one form that follows the position.
        """
        if length not in self._keys:
            shifts = [-1] if length == _NEXT else list(range(length - 1, -1, -1))
            key, whole = np.zeros_like(self.form), np.ones(len(self.form), np.bool_)
            for shift in shifts:
                form, same = self._shifted(shift)
                key, whole = (key << _FORM_BITS) | form, whole & same
            self._keys[length] = np.where(whole, key, -1)
        return self._keys[length]

    def index(self, length: int) -> PositionsOfKeys:
        """Positions of each phrase of `length` forms."""
        if length not in self._indexes:
            keys = self.keys(length)
            order = np.argsort(keys, kind="stable")
            order = order[np.searchsorted(keys[order], 0) :]
            found, starts = np.unique(keys[order], return_index=True)
            self._indexes[length] = PositionsOfKeys(found, np.append(starts, len(order)), order)
        return self._indexes[length]

    def phrase(self, key: int, length: int) -> tuple[str, ...]:
        """The forms of a key."""
        mask = (1 << _FORM_BITS) - 1
        count = max(length, 1)
        return tuple(str(self.forms[key >> (_FORM_BITS * i) & mask]) for i in range(count - 1, -1, -1))

    def key(self, phrase: tuple[str, ...]) -> int:
        """The key of a phrase; -1 if one of its forms does not occur in the text."""
        key = 0
        for form in phrase:
            number = self.number.get(form)
            if number is None:
                return -1
            key = (key << _FORM_BITS) | number
        return key

    def _shifted(self, back: int) -> tuple[Int64, Mask]:
        """The form `back` positions before each, and whether it is of the same row and document."""
        size = len(self.form)
        source = np.arange(size) - back
        inside = (source >= 0) & (source < size)
        source = np.clip(source, 0, size - 1)
        row = np.arange(size) // self.length
        same = inside & (row == row[source]) & (self.document == self.document[source])
        return self.form[source], same


def documents_in_test(document: Int64, seed: int) -> Mask:
    """Which documents are tested on, about half: a function of each number and the seed alone."""
    start = splitmix64(np.array([seed % 2**64], dtype=np.uint64))
    bits = splitmix64(start ^ document.astype(np.int64).view(np.uint64))
    chosen: Mask = (bits & np.uint64(1)).astype(np.bool_)
    return chosen
