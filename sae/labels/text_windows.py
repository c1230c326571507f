"""Vectors by meaning of the text around positions, each row cut into words once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sae.labels.text import Int64, LabelText
from sae.text.ranges import ranges
from sae.text.word_vectors import Float32, WordVectors, unit

BEFORE, AFTER = 10, 2  # tokens of the text around a position


class TextWindows:
    """The text around positions: of the same row and document, 10 tokens before and 2 after. `strings`: texts of tokens."""

    def __init__(self, text: LabelText, strings: Callable[[Sequence[int]], list[str]], words: WordVectors) -> None:
        self._text, self._words = text, words
        rows = [strings(row.tolist()) for row in text.tokens.reshape(text.rows, text.length)]
        found = words.cut(["".join(parts) for parts in rows])
        ids: list[Int64] = []
        first: list[Int64] = []  # of each position, the first word token that begins in it or later
        base = 0
        for parts, (row_ids, begins) in zip(rows, found, strict=True):
            starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
            first.append(base + np.searchsorted(begins, starts))
            ids.append(row_ids)
            base += len(row_ids)
        self._ids = np.concatenate([*ids, np.zeros(0, np.int64)])
        self._first = np.concatenate([*first, np.zeros(0, np.int64)])

    def of(self, positions: Int64) -> Float32:
        """One vector of length 1 [n, 256] for each position; 0 where no word is."""
        from scipy.sparse import csr_array  # the API reads this module, and need not wait for SciPy

        start, stop = self._spans(positions)
        sizes = np.maximum(stop - start, 0)
        at = ranges(start, sizes)
        borders = np.concatenate([[0], np.cumsum(sizes)])
        counted = csr_array(
            (np.ones(len(at), np.float32), self._ids[at], borders), shape=(len(positions), len(self._words.vectors))
        )
        return unit(counted @ self._words.vectors)

    def _spans(self, positions: Int64) -> tuple[Int64, Int64]:
        """Word tokens [start, stop) around each position."""
        text = self._text
        places = positions[:, None] + np.arange(-BEFORE, AFTER + 1)
        row = positions // text.length
        inside = places // text.length == row[:, None]
        places = np.clip(places, 0, len(text.tokens) - 1)
        inside &= text.document[places] == text.document[positions][:, None]
        low = np.where(inside, places, len(text.tokens)).min(1, initial=len(text.tokens))
        high = np.where(inside, places, -1).max(1, initial=-1) + 1
        # Each row has one border more than it has positions.
        return self._first[low + row], self._first[high + row]
