"""Which features tell two groups of texts apart, with an interval, and how far chance alone would go.

A text counts by its feature's largest activation. The effect of a feature is the probability that a text of the second group
has a larger one than a text of the first, ties counted half (the area under the ROC curve). Chance: groups of the same sizes
drawn from all texts at random; the largest distance from 0.5 of any feature in each draw says what the best of so many features
reaches alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
_RESAMPLES = 1000
_DRAWS = 400


class Contrasted(NamedTuple):
    """One feature: its effect with a 95% interval, mean of the largest activations by group, texts in which it was active."""

    latent: int
    effect: float
    low: float
    high: float
    mean_a: float
    mean_b: float
    active_a: int
    active_b: int


class Contrast(NamedTuple):
    """Features, the largest distance of the effect from 0.5 first. `chance`: the distance that 95% of draws stay below."""

    features: list[Contrasted]
    chance: float


def contrast(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], top: int, seed: int = 0) -> Contrast:
    """Contrasts the largest activations a [n, F] and b [m, F] of n and m texts. Raises ValueError for one text alone."""
    if min(len(a), len(b)) < 2:
        raise ValueError("each group needs at least two texts: an interval over one text has no meaning")
    both = np.concatenate([a, b])
    ranks = np.asarray(rankdata(both, axis=0), dtype=np.float64)
    effects = _effects(ranks, np.arange(len(a), len(both))[None])[0]
    order = np.lexsort((np.arange(len(effects)), -np.abs(effects - 0.5)))[:top]
    rng = np.random.default_rng(seed)
    low, high = _interval(a[:, order], b[:, order], rng)
    active_a, active_b = ((group > 0).sum(0) for group in (a, b))
    features = [
        Contrasted(
            int(f), float(effects[f]), float(low[i]), float(high[i]), float(a[:, f].mean()), float(b[:, f].mean()),
            int(active_a[f]), int(active_b[f]),
        )
        for i, f in enumerate(order)
        if active_a[f] or active_b[f]
    ]  # fmt: skip
    return Contrast(features, _chance(ranks, len(b), rng))


def _effects(ranks: Floats, second: npt.NDArray[np.int64]) -> Floats:
    """Effects [k, F] of k choices of the second group [k, m], from the ranks [N, F] of all texts (Mann and Whitney)."""
    m = second.shape[1]
    n = len(ranks) - m
    chosen = np.zeros((len(second), len(ranks)))
    np.put_along_axis(chosen, second, 1.0, axis=1)
    found: Floats = (chosen @ ranks - m * (m + 1) / 2) / (n * m)
    return found


def _chance(ranks: Floats, m: int, rng: np.random.Generator) -> float:
    draws = np.stack([rng.permutation(len(ranks))[:m] for _ in range(_DRAWS)])
    return float(np.quantile(np.abs(_effects(ranks, draws) - 0.5).max(1), 0.95))


def _interval(
    a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Ends [k] of 95% intervals of the effects of k features, over resampled texts of each group."""
    wins = (b[None] > a[:, None]) + 0.5 * (b[None] == a[:, None])  # [n, m, k]
    found = np.empty((_RESAMPLES, a.shape[1]))
    for i in range(_RESAMPLES):
        rows = rng.multinomial(len(a), np.full(len(a), 1 / len(a))) / len(a)
        columns = rng.multinomial(len(b), np.full(len(b), 1 / len(b))) / len(b)
        found[i] = np.einsum("n,m,nmk->k", rows, columns, wins, optimize=True)
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    return low, high
