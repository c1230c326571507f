"""Which features are active together: for each the others with the highest NPMI, from exact counts of positions.

Joint counts are products of sparse matrices, a block of features at a time, so memory grows with features and codes, not with
pairs of features. Positions without data have no codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

LEAST_JOINT = 5  # positions that two features share at least to be listed: fewer may be chance
_PAIRS = 1 << 33  # of active latents of one position, over all positions: what may be counted
_CELLS = 1 << 23  # joint counts in memory for each thread


class Coactivation(NamedTuple):
    """The partners of feature f are entries `starts[f]:starts[f + 1]`, the highest NPMI first, ties by latent.

    `counts` int64 [features]: active positions among the `positions` data positions that were counted. Of each entry: the
    `partner`, `joint` (positions where both are active) and `npmi`.
    """

    positions: int
    counts: Int64
    starts: Int64
    partner: Int32
    joint: Int64
    npmi: npt.NDArray[np.float32]


class _Partners(NamedTuple):
    partner: Int32
    joint: Int32
    npmi: npt.NDArray[np.float64]


def count_coactivation(starts: Int64, positions: Int64, data: Mask, most: int, threads: int = 1) -> Coactivation:
    """Partners of each feature, at most `most`, of those with `LEAST_JOINT` joint positions or more.

    Feature f is active at the ascending flat `positions[starts[f]:starts[f + 1]]`; `data` bool [n] says which positions count
    as data. Of SAEs with very many active latents only the first positions are counted: as many as hold 2^33 pairs.
    """
    from scipy.sparse import csr_array  # only who counts waits for SciPy

    features, stop = len(starts) - 1, _positions_within(positions, len(data), _PAIRS)
    owner = np.repeat(np.arange(features), np.diff(starts))
    inside = positions < stop
    counts = np.bincount(owner[inside], minlength=features)
    by_feature = csr_array(
        (np.ones(int(inside.sum()), np.int32), positions[inside].astype(np.int32), _starts(counts)),
        shape=(features, len(data)),
    )
    by_position = by_feature.T.tocsr()
    n, size = int(data[:stop].sum()), max(1, _CELLS // max(features, 1))

    def block(first: int) -> list[_Partners]:
        joint = by_feature[first : first + size] @ by_position
        rows = range(joint.shape[0])
        return [_best(first + row, _row(joint, row), counts, n, most) for row in rows]

    found = [one for rows in _in_threads(block, range(0, features, size), threads) for one in rows]
    return Coactivation(
        n,
        counts,
        _starts(np.array([len(one.partner) for one in found], np.int64)),
        np.concatenate([one.partner for one in found]),
        np.concatenate([one.joint for one in found]).astype(np.int64),
        np.concatenate([one.npmi for one in found]).astype(np.float32),
    )


def npmi(joint: npt.NDArray[Any], a: npt.NDArray[Any], b: npt.NDArray[Any], positions: int) -> npt.NDArray[np.float64]:
    """Normalised pointwise mutual information of joint counts > 0: 1 always together, 0 as if independent.

    `a` and `b` count the active positions of either feature, of `positions` in all.
    """
    together = np.log(joint) - np.log(positions)
    information = together - (np.log(a) + np.log(b) - 2 * np.log(positions))
    # Two features that are active everywhere: 0 / 0.
    ratio: npt.NDArray[np.float64] = np.divide(information, -together, out=np.ones_like(together), where=together < 0)
    return ratio


def _positions_within(positions: Int64, total: int, pairs: int) -> int:
    """How many of the first positions have at most so many pairs of active latents, each with itself included."""
    active = np.bincount(positions, minlength=total).astype(np.int64)
    return int(np.searchsorted(np.cumsum(active * active), pairs, side="right"))


def _row(joint: Any, row: int) -> tuple[Int32, Int32]:
    entries = slice(joint.indptr[row], joint.indptr[row + 1])
    return joint.indices[entries], joint.data[entries]


def _best(feature: int, row: tuple[Int32, Int32], counts: Int64, positions: int, most: int) -> _Partners:
    partner, joint = row
    kept = (joint >= LEAST_JOINT) & (partner != feature)
    partner, joint = partner[kept], joint[kept]
    if not len(partner):
        return _Partners(partner, joint, np.zeros(0))
    score = npmi(joint, counts[feature], counts[partner], positions)
    if len(score) > most:
        limit = np.partition(score, len(score) - most)[len(score) - most]
        kept = score >= limit
        partner, joint, score = partner[kept], joint[kept], score[kept]
    order = np.lexsort((partner, -score))[:most]
    return _Partners(partner[order], joint[order], score[order])


def _in_threads(work: Any, items: range, threads: int) -> Iterator[Any]:
    """Results in order. Products release the interpreter's lock."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, items)


def _starts(counts: Int64) -> Int64:
    return np.concatenate([[0], np.cumsum(counts)])
