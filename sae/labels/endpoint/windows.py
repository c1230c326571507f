"""Examples as text: a token with some of the text on either side, out of one document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sae.labels.text import Int64, LabelText, Mask


class Window(NamedTuple):
    """A token's text, and the text before and after it."""

    before: str
    token: str
    after: str

    @property
    def text(self) -> str:
        """All of it."""
        return self.before + self.token + self.after

    def quoted(self) -> dict[str, str]:
        """As a prompt shows it."""
        return {"before": self.before, "token": self.token, "after": self.after}


class Windows:
    """Windows of `width` tokens on either side. `strings` gives the texts of consecutive token ids."""

    def __init__(self, text: LabelText, strings: Callable[[Sequence[int]], list[str]], width: int) -> None:
        self._text, self._strings, self._width = text, strings, width

    def span(self, position: int) -> tuple[int, int]:
        """The positions [start, stop) of a window: of the same row and document as its own."""
        row = position // self._text.length * self._text.length
        start = max(row, position - self._width)
        stop = min(row + self._text.length, position + self._width + 1)
        other = np.flatnonzero(self._text.document[start:stop] != self._text.document[position]) + start
        before, after = other[other < position], other[other > position]
        return int(before[-1]) + 1 if len(before) else start, int(after[0]) if len(after) else stop

    def at(self, position: int) -> Window:
        """The window of a position."""
        start, stop = self.span(position)
        parts = self._strings(self._text.tokens[start:stop].tolist())
        own = position - start
        return Window("".join(parts[:own]), parts[own], "".join(parts[own + 1 :]))

    def silent(self, positions: Int64, active: Int64) -> Mask:
        """Which windows hold none of the ascending `active` positions."""
        spans = np.array([self.span(int(at)) for at in positions], np.int64).reshape(-1, 2)
        found: Mask = np.searchsorted(active, spans[:, 0]) == np.searchsorted(active, spans[:, 1])
        return found
