"""Samples of a planted dictionary, without a random number for each feature of each sample.

Features without a parent are drawn by thinning: for a block of samples each has a rate that none of its samples exceeds, a
Poisson process of these rates gives candidates, and a candidate is kept with the share that its sample's own rate has of
it. A feature is drawn if one candidate is kept, which has exactly the wanted probability. Children are drawn where their
parent is active, generation by generation. The work grows with the features that fire, not with all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from configs.synthesize import SynthesizeConfig
from sae.linear import linear
from sae.planted.dictionary import SAMPLES, Dictionary
from sae.planted.forest import first_child
from sae.planted.uniform import Draws, Floats, normal_share

Ints = NDArray[np.int64]
_BLOCK = 1024  # samples
_GRID = 64  # bounds of the rates are rounded up to 1 / _GRID, so that the last bits of a product do not move them


class Active(NamedTuple):
    """Features that fire, by sample and then feature: sample, feature int64 [m], value float32 [m] > 0."""

    sample: Ints
    feature: Ints
    value: NDArray[np.float32]


class Sampler:
    """Draws samples of one dictionary."""

    def __init__(self, config: SynthesizeConfig, dictionary: Dictionary) -> None:
        self._config, self._dictionary = config, dictionary
        self._free = np.flatnonzero(dictionary.parent < 0)
        self._first_child, self._children = first_child(dictionary.parent)
        self._free_factor = torch.from_numpy(dictionary.factor[self._free]).float()

    def chunk(self, number: int, samples: int) -> Active:
        """The samples of a chunk: a function of config, number and how many they are. Values are rounded to float16."""
        parts = []
        for start in range(0, samples, _BLOCK):
            draws = Draws(self._config.seed, SAMPLES + number, start)
            block = self._block(draws, min(_BLOCK, samples - start))
            parts.append(block._replace(sample=block.sample + start))
        return Active(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))

    def _block(self, draws: Draws, samples: int) -> Active:
        rank = self._dictionary.factor.shape[1]
        common = draws.normal(samples * rank).reshape(samples, rank)
        active = self._values(draws, self._candidates(draws, common), None)
        levels = [active]
        while len(active.sample):
            active = self._of_parents(draws, common, active)
            levels.append(active)
        sample, feature = (np.concatenate([level[field] for level in levels]) for field in (0, 1))
        value = np.concatenate([level.value for level in levels])
        order = np.lexsort((feature, sample))
        return Active(sample[order], feature[order], value[order])

    def _candidates(self, draws: Draws, common: Floats) -> tuple[Ints, Ints]:
        """Samples and features that are drawn among those without a parent."""
        d, free, samples = self._dictionary, self._free, len(common)
        shift = linear(torch.from_numpy(common).float(), self._free_factor).amax(0).double().numpy()
        bound = (np.ceil(shift * _GRID + 1) / _GRID - d.threshold[free]) / d.noise[free]
        most = _rate(bound)
        edges = np.concatenate([[0.0], np.cumsum(most * samples)])
        at = _poisson(draws, edges[-1])
        index = np.minimum(np.searchsorted(edges, at, side="right") - 1, len(free) - 1)
        sample = np.minimum(((at - edges[index]) / most[index]).astype(np.int64), samples - 1)
        own = self._rates(common, sample, free[index])
        kept = draws.uniform(len(at)) * most[index] < own
        pairs = np.unique(index[kept] * samples + sample[kept])
        return pairs % samples, free[pairs // samples]

    def _of_parents(self, draws: Draws, common: Floats, parents: Active) -> Active:
        """The next generation: children of active features, of each parent one at most if they exclude each other."""
        count = self._children[parents.feature]
        of = np.repeat(np.arange(len(count)), count)
        within = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
        sample, feature = parents.sample[of], self._first_child[parents.feature[of]] + within
        drawn = draws.uniform(len(of)) < -np.expm1(-self._rates(common, sample, feature))
        sample, feature, of = sample[drawn], feature[drawn], of[drawn]
        if self._config.exclusive:
            order = np.lexsort((draws.uniform(len(of)), of))
            one = order[np.concatenate([[True], np.diff(of[order]) > 0])] if len(of) else order
            sample, feature, of = sample[one], feature[one], of[one]
        scale = parents.value[of] / self._dictionary.mean[parents.feature[of]] if self._config.scale_by_parent else None
        return self._values(draws, (sample, feature), scale)

    def _rates(self, common: Floats, sample: Ints, feature: Ints) -> Floats:
        """Rates of drawing features at samples: a feature is drawn with probability 1 - exp(-rate)."""
        d = self._dictionary
        shift = (common[sample] * d.factor[feature]).sum(axis=1)
        return _rate((shift - d.threshold[feature]) / d.noise[feature])

    def _values(self, draws: Draws, drawn: tuple[Ints, Ints], scale: Floats | None) -> Active:
        """The magnitudes of drawn features; those that would not be positive do not fire."""
        sample, feature = drawn
        d = self._dictionary
        value = d.mean[feature] + d.deviation[feature] * draws.normal(len(feature))
        stored = (value if scale is None else value * scale).astype(np.float16).astype(np.float32)
        fires = stored > 0
        return Active(sample[fires], feature[fires], stored[fires])


def _rate(x: Floats) -> Floats:
    """-log(1 - share of the normal distribution below x), bounded."""
    rate: Floats = -np.log(np.maximum(normal_share(-x), 1e-12))
    return rate


def _poisson(draws: Draws, length: float) -> Floats:
    """Points of a Poisson process of rate 1 on [0, length), in order."""
    parts, end = [], 0.0
    while end < length:
        count = int(length - end + 6 * np.sqrt(length - end)) + 16
        points = end + np.cumsum(-np.log(draws.uniform(count)))
        parts.append(points)
        end = float(points[-1])
    points = np.concatenate(parts) if parts else np.zeros(0)
    return points[points < length]
