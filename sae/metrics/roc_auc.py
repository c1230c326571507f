"""ROC-AUC: the probability that a positive example ranks above a negative one, with a 95% interval without random numbers.

The interval is Newcombe's (2006, method 5): Hanley and McNeil's variance, taken at the ends of the interval instead of at its
middle. So it has a width at an AUC of 1, as Wilson's interval has at a share of 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sae.metrics.intervals import Floats, Z

_HALVINGS = 60


def roc_auc(scores: NDArray[np.float32], positive: int) -> Floats:
    """AUC [k] of scores [k, n], whose first `positive` columns are the positive examples. A tie counts as half.

    NaN without both kinds of examples.
    """
    negative = scores.shape[1] - positive
    if not positive or not negative:
        return np.full(len(scores), np.nan)
    ranks = rankdata(scores, axis=1)[:, :positive].sum(1)
    found: Floats = (ranks - positive * (positive + 1) / 2) / (positive * negative)
    return found


def auc_intervals(auc: Floats, positive: NDArray[np.int64], negative: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Lower and upper ends [k] of the 95% intervals of AUCs [k], from numbers of examples [k]; NaN where the AUC is."""
    with np.errstate(invalid="ignore", divide="ignore"):
        low = _end(auc, positive, negative)
        return low, 1 - _end(1 - auc, positive, negative)


def _end(auc: Floats, positive: NDArray[np.int64], negative: NDArray[np.int64]) -> Floats:
    """The value below each AUC from which it is Z standard errors away, found by halving."""
    below, above = np.zeros_like(auc), auc.copy()
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        far = auc - middle > Z * np.sqrt(_variance(middle, positive, negative))
        below, above = np.where(far, middle, below), np.where(far, above, middle)
    return np.where(np.isnan(auc), np.nan, (below + above) / 2)


def _variance(auc: Floats, positive: NDArray[np.int64], negative: NDArray[np.int64]) -> Floats:
    """Hanley and McNeil's, with the mean number of examples in place of either."""
    pairs = (positive + negative) / 2 - 1
    spread = 1 + pairs * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    found: Floats = auc * (1 - auc) * spread / (positive * negative)
    return found
