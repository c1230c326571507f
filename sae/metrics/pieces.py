"""Sums over pieces, the positions that a document has in a row: what intervals over documents are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sae.metrics.reconstruction import Counts, Sums, segment_sums


class Pieces(NamedTuple):
    """Of p pieces, in order: the document int64 [p], its positions int64 [p], and sums float64 [p, c]."""

    document: Counts
    positions: Counts
    sums: Sums


def piece_sums(values: Sums, positions: NDArray[np.bool_], document: Counts) -> Pieces:
    """Pieces of the m chosen `positions` bool [n, L], from `values` [m, c] and the `document` int64 [n, L] of each."""
    row, own = np.nonzero(positions)[0], document[positions]
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(row) != 0) | (np.diff(own) != 0)])) if len(row) else row
    lengths = np.diff(np.append(starts, len(row)))
    return Pieces(own[starts], lengths, segment_sums(values, lengths))


def join_pieces(parts: Iterable[Pieces]) -> Pieces:
    """Pieces of consecutive batches as those of one."""
    return Pieces(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def by_document(pieces: Pieces, documents: Counts) -> Sums:
    """Sums [D, 1 + c] of each of `documents` int64 [D], sorted: positions first. Pieces are added in their order."""
    out = np.zeros((len(documents), 1 + pieces.sums.shape[1]))
    index = np.searchsorted(documents, pieces.document)
    np.add.at(out, index, np.column_stack([pieces.positions, pieces.sums]))
    return out
