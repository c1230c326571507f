"""An example as the report and the API show it: which tokens around its position, their texts, and which of them are no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sae.formats.tokens import Role, TokenRows
from sae.report.token_text import TokenText

_MARGIN = 3  # tokens read beyond a window, so that a character cut by its edge is still decoded whole


class ShownExample(NamedTuple):
    """Tokens from position `first` of a row: their texts and activations, and the indices of those that are no data."""

    first: int
    texts: list[str]
    acts: list[float]
    outside: list[int]


def shown_example(
    row: TokenRows,
    attention: str,
    position: int,
    start: int,
    acts: Sequence[float],
    text: TokenText,
    around: int | None = None,
) -> ShownExample:
    """The example at a position of one row of tokens, whose activations are known from position `start` on.

    At most `around` tokens on each side (None: all whose activations are known), without padding, and within the document
    where attention does not cross documents.
    """
    first, stop = _window(attention, row, position, around, range(start, start + len(acts)))
    known = list(acts[first - start : stop - start])
    outside = np.flatnonzero(row.roles[0, first:stop] != Role.DATA).tolist()
    begin = max(0, first - _MARGIN)
    texts = text.strings(row.input_ids[0, begin : stop + _MARGIN].tolist())[first - begin :][: stop - first]
    return ShownExample(first, texts, known, [at for at in outside if not known[at]])


def _window(attention: str, row: TokenRows, position: int, around: int | None, known: range) -> tuple[int, int]:
    first, stop = known.start, known.stop
    if around is not None:
        first, stop = max(first, position - around), min(stop, position + around + 1)
    inside = row.roles[0] != Role.PAD
    if attention == "document":
        inside = inside & (row.document[0] == row.document[0, position])
    while not inside[first]:
        first += 1
    while not inside[stop - 1]:
        stop -= 1
    return first, stop
