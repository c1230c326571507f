"""The forest of planted features, and the firing probabilities that make up for what it takes away.

Features are numbered generation by generation: roots first, then their children, parent by parent. What is beyond the
forest has no parent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.synthesize import SynthesizeConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_MOST = 1 - 1e-6  # a probability of 1 has no threshold


def parents(config: SynthesizeConfig) -> Ints:
    """The parent of each feature, int64 [features]; -1 for those without one."""
    parent = np.full(config.features, -1, np.int64)
    generation = range(min(config.roots, config.features))
    for _ in range(config.depth):
        first = generation.stop
        children = range(first, min(first + len(generation) * config.branching, config.features))
        parent[children.start : children.stop] = generation.start + np.arange(len(children)) // config.branching
        generation = children
    return parent


def first_child(parent: Ints) -> tuple[Ints, Ints]:
    """The number of each feature's first child, and how many children it has: int64 [features] each."""
    count = np.bincount(parent[parent >= 0], minlength=len(parent)).astype(np.int64)
    first = np.full(len(parent), -1, np.int64)
    child = np.flatnonzero(parent >= 0)
    first[parent[child][::-1]] = child[::-1]
    return first, count


def firing_probabilities(config: SynthesizeConfig) -> Floats:
    """The probability with which each feature should fire: Zipf's law, scaled to the config's range, [features]."""
    law = np.arange(1, config.features + 1, dtype=np.float64) ** -config.zipf_exponent
    spread = law[0] - law[-1]
    share = (law - law[-1]) / spread if spread else np.ones_like(law)
    probability: Floats = config.least_firing + (config.most_firing - config.least_firing) * share
    return probability


def drawn_probabilities(probability: Floats, parent: Ints, exclusive: bool) -> Floats:
    """The probability with which a feature is drawn where its parent is active, so that it fires about as it should.

    Below 1: a feature whose parent is hardly more common than itself fires less often than it should.
    """
    drawn = probability.copy()
    child = np.flatnonzero(parent >= 0)
    of_parent = probability[parent[child]]
    drawn[child] /= of_parent
    if exclusive:
        siblings = np.bincount(parent[child], weights=probability[child], minlength=len(parent))[parent[child]]
        drawn[child] *= 1 + (siblings - probability[child]) / of_parent
    return np.minimum(drawn, _MOST)
