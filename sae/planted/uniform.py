"""Seeded random numbers whose bits do not depend on NumPy's version: from raw words, which it promises not to change."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Draws:
    """A stream of random numbers, a function of the given whole numbers alone."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def uniform(self, count: int) -> Floats:
        """`count` numbers in (0, 1)."""
        words = self._bits.random_raw(count)
        uniform: Floats = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
        return uniform

    def normal(self, count: int) -> Floats:
        """`count` standard normal numbers."""
        return normal_quantile(self.uniform(count))


def normal_share(x: Floats) -> Floats:
    """The share of the standard normal distribution below x."""
    share: Floats = torch.special.ndtr(torch.from_numpy(np.ascontiguousarray(x))).numpy()
    return share


def normal_quantile(share: Floats) -> Floats:
    """The number that `share` of the standard normal distribution is below."""
    quantile: Floats = torch.special.ndtri(torch.from_numpy(np.ascontiguousarray(share))).numpy()
    return quantile
