"""Which features are active at which positions of the text that labels are found in and tested on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.features.sketch import stable_order
from sae.labels.text import Int64, Mask


class Activations(NamedTuple):
    """Active positions by feature: those of f are `positions[starts[f]:starts[f + 1]]`, ascending, with `values` > 0."""

    starts: Int64
    positions: Int64
    values: npt.NDArray[np.float32]

    @property
    def features(self) -> int:
        """How many features there are."""
        return len(self.starts) - 1

    def of(self, feature: int) -> Int64:
        """Positions where a feature is active."""
        return self.positions[self.starts[feature] : self.starts[feature + 1]]

    def values_of(self, feature: int) -> npt.NDArray[np.float32]:
        """Its activations there."""
        return self.values[self.starts[feature] : self.starts[feature + 1]]

    def split(self, feature: int, explain: Mask, strength: float) -> tuple[Int64, Int64]:
        """Strong and weak active positions: at least `strength` of the largest activation in the explain part, or less."""
        at, values = self.of(feature), self.values_of(feature)
        limit = strength * float(values[explain[at]].max(initial=0.0))
        return at[values >= limit], at[values < limit]


def by_feature(feature: Int64, position: Int64, value: npt.NDArray[np.float32], features: int) -> Activations:
    """Activations from codes [m] in ascending order of position."""
    order = stable_order(feature, features)
    starts = np.concatenate([[0], np.cumsum(np.bincount(feature, minlength=features))])
    return Activations(starts, position[order], value[order])
