"""Which features get a page of their own: a fair sample over densities, not the best."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import numpy.typing as npt


def select_features(density: npt.NDArray[np.float64], pages: int, seed: int) -> list[int]:
    """Feature numbers, ascending: one drawn by `seed` from each of `pages` equal ranks of the alive by density [n]."""
    alive = np.flatnonzero(density > 0)
    ranked = alive[np.argsort(density[alive], kind="stable")]
    pages = min(pages, len(ranked))
    edges = [i * len(ranked) // pages for i in range(pages + 1)] if pages else []
    ranks = [ranked[start:stop] for start, stop in pairwise(edges)]
    return sorted(min((int(feature) for feature in rank), key=lambda f: _order(seed, f)) for rank in ranks)


def selection_rule(alive: int, chosen: int, seed: int) -> str:
    """The rule in words, for the page."""
    if chosen == alive:
        return f"All {alive:,} features that fired at all have a page of their own."
    return (
        f"{chosen:,} features have a page of their own. They are not the best ones but a fair sample: the {alive:,} "
        f"features that fired at all were ranked by density, cut into {chosen:,} equal ranks, "
        f"and one was drawn from each rank (seed {seed})."
    )


def _order(seed: int, feature: int) -> bytes:
    """A number that only seed and feature decide, on every machine and in every version of every library."""
    return hashlib.sha256(f"{seed}:{feature}".encode()).digest()
