"""Which positions CE and KL are measured at, and why the others are not.

A position is scored when it is data and the token after it, which the model predicts there, is a data position of the
same row, and of the same document where attention stays inside documents (across documents the next token cannot be
predicted). The last position of a row is never scored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.tokenize import Attention


def scored_positions(data: NDArray[np.bool_], document: NDArray[np.int64], attention: Attention) -> NDArray[np.bool_]:
    """The positions where CE and KL are measured: bool [n, L] from `data` bool [n, L] and `document` int64 [n, L]."""
    scored = np.zeros_like(data)
    scored[:, :-1] = data[:, :-1] & data[:, 1:]
    if attention == "document":
        scored[:, :-1] &= document[:, :-1] == document[:, 1:]
    return scored


def count_unscored(data: NDArray[np.bool_], document: NDArray[np.int64], attention: Attention) -> dict[str, int]:
    """Data positions that are not scored, by the one reason of each; with the scored ones they add up to all data."""
    last = int(data[:, -1].sum())
    followed = data[:, :-1] & data[:, 1:]
    next_not_data = int((data[:, :-1] & ~data[:, 1:]).sum())
    other = int((followed & (document[:, :-1] != document[:, 1:])).sum()) if attention == "document" else 0
    return {"row_end": last, "next_not_data": next_not_data, "next_other_document": other}
