"""Cuts documents into pieces of at most one row each, by the truncation that a config asks for.

From the documents' token lengths alone. A separator follows each piece that leaves room for it in a row: where a piece
fills its row, the end of the row separates as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from configs.tokenize import Side, Truncation
from sae.text.tokenizer_spec import TokenizeError


class Pieces(NamedTuple):
    """Pieces in order of documents. `begin` int64 counts in the split's stream; `length` int64 without the separator.

    The first `repeated` int64 tokens of a piece stand at the end of the one before it too.
    """

    begin: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    repeated: npt.NDArray[np.int64]

    def sizes(self, payload: int, separated: bool) -> npt.NDArray[np.int64]:
        """Positions that each piece takes in a row, its separator included."""
        return self.length + (self.length < payload if separated else 0)


def document_pieces(
    lengths: npt.NDArray[np.int64],
    begins: npt.NDArray[np.int64],
    payload: int,
    truncation: Truncation,
    side: Side,
    stride: int,
) -> Pieces:
    """The pieces of documents of `lengths` tokens (int64 [D], each at least 1) that begin at `begins` in the stream.

    `payload` is the number of tokens that a row takes. Raises TokenizeError where the config refuses long documents.
    """
    longer = lengths > payload
    if truncation == "refuse" and longer.any():
        raise TokenizeError(
            f"{int(longer.sum()):,} documents do not fit into a row: the longest has {int(lengths.max()):,} tokens, a row "
            f"takes {payload:,} (`truncation: refuse`); raise context_length, or set truncation to overflow or cut"
        )
    if truncation == "cut":
        lost = np.maximum(lengths - payload, 0)
        return Pieces(begins + (lost if side == "left" else 0), lengths - lost, np.zeros_like(lengths))
    step = payload - stride
    further = np.where(longer, -(-(lengths - payload) // step), 0)
    document = np.repeat(np.arange(len(lengths)), further + 1)
    number = np.arange(len(document)) - np.repeat(np.cumsum(further + 1) - further - 1, further + 1)
    whole = lengths[document]
    if side == "right":
        first = number * step
        end = np.minimum(first + payload, whole)
    else:  # counted from the end, so that the first piece is the short one
        end = whole - (further[document] - number) * step
        first = np.maximum(end - payload, 0)
    return Pieces(begins[document] + first, end - first, np.where(number > 0, stride, 0))
