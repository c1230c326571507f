"""Which documents the rows of a split hold, and what became of those that did not fit into one row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.text.row_pieces import Stretches


class RowDocuments(NamedTuple):
    """Documents with tokens in the rows; of these, those with tokens in more than one of them.

    `cut_documents` and `cut_tokens`: those that lack tokens, and how many, whatever the reason.
    """

    documents: int
    divided_documents: int
    cut_documents: int
    cut_tokens: int


def documents_of_rows(
    stretches: Stretches, lengths: npt.NDArray[np.int64], begins: npt.NDArray[np.int64]
) -> RowDocuments:
    """Counts documents of `lengths` tokens (int64 [D], at least 1) that begin at `begins`, ascending, in the stream.

    `stretches`: what each row holds of the stream and no other row does. They do not overlap.
    """
    begin, end = np.sort(stretches.begin), np.sort(stretches.end)  # in order, so that memory is read in order
    low = np.searchsorted(begins, begin, "right") - 1
    low += begin >= begins[low] + lengths[low]  # it begins with the separator of the one before
    high = np.searchsorted(begins, end, "left")
    some = low < high
    low, high, begin, end = low[some], high[some], begin[some], end[some]
    rows = np.bincount(low, minlength=len(lengths) + 1) - np.bincount(high, minlength=len(lengths) + 1)
    rows = np.cumsum(rows)[:-1]
    # Whole documents first, then less what the first and the last document of each stretch have outside of it.
    tokens = rows * lengths
    np.subtract.at(tokens, low, np.maximum(begin - begins[low], 0))
    last = high - 1
    np.subtract.at(tokens, last, np.maximum(begins[last] + lengths[last] - end, 0))
    held = rows > 0
    lost = lengths[held] - tokens[held]
    return RowDocuments(int(held.sum()), int((rows > 1).sum()), int((lost > 0).sum()), int(lost.sum()))
