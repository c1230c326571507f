"""Which documents the rows of a split hold, and what became of those that did not fit into one row."""

from __future__ import annotations

from collections.abc import Iterable
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
    stretches: Iterable[Stretches], lengths: npt.NDArray[np.int64], begins: npt.NDArray[np.int64]
) -> RowDocuments:
    """Counts documents of `lengths` tokens (int64 [D], at least 1) that begin at `begins`, ascending, in the stream.

    `stretches`: what each row holds of the stream and no other row does, some rows at a time. They do not overlap.
    """
    changes = np.zeros(len(lengths) + 1, np.int64)  # of the number of rows, from one document to the next
    outside = np.zeros(
        len(lengths), np.int64
    )  # tokens that the first and the last document of a stretch have outside of it
    for some in stretches:
        _add_rows(some, lengths, begins, changes, outside)
    rows = np.cumsum(changes, out=changes)[:-1]
    held = rows > 0
    lost = (lengths - rows * lengths + outside)[held]
    return RowDocuments(int(held.sum()), int((rows > 1).sum()), int((lost > 0).sum()), int(lost.sum()))


def _add_rows(
    stretches: Stretches,
    lengths: npt.NDArray[np.int64],
    begins: npt.NDArray[np.int64],
    changes: npt.NDArray[np.int64],
    outside: npt.NDArray[np.int64],
) -> None:
    begin, end = np.sort(stretches.begin), np.sort(stretches.end)  # in order, so that memory is read in order
    low = np.searchsorted(begins, begin, "right") - 1
    low += begin >= begins[low] + lengths[low]  # it begins with the separator of the one before
    high = np.searchsorted(begins, end, "left")
    some = low < high
    low, high, begin, end = low[some], high[some], begin[some], end[some]
    np.add.at(changes, low, 1)
    np.subtract.at(changes, high, 1)
    np.add.at(outside, low, np.maximum(begin - begins[low], 0))
    last = high - 1
    np.add.at(outside, last, np.maximum(begins[last] + lengths[last] - end, 0))
