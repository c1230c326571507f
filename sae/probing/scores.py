"""Figures over test documents with their 95% intervals, and their differences.

The interval of a share is Wilson's at the effective number of documents (Korn and Graubard 1998), as a document may test
several probes. Changes of shares have the delta method's. Neither has width 0: where no document shows any change, one that
would is still possible. Probes and latents are taken as they are: their own spread over training documents is in no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sae.formats.labelled_rows import Int64
from sae.metrics.intervals import Estimate, Z, difference, share_interval

METHOD = (
    "95% intervals over test documents, paired by document for differences. Of accuracies Wilson's at the effective number of "
    "documents; of other figures the delta method. Probes and choices of latents are taken as they are."
)
Floats = NDArray[np.float64]


class Score(NamedTuple):
    """A figure, to first order a sum over documents: `influence` float64 [D] is what each moves it by.

    `tested` bool [D]: the documents that it is made of. `reach`: by how much all of them together could move it.
    """

    value: float
    influence: Floats
    tested: NDArray[np.bool_]
    reach: float = 1.0


def accuracy(correct: Floats, document: Int64, documents: int) -> Score:
    """The mean of `correct` float64 [n], between 0 and 1, over test documents int64 [n], of `documents` in all."""
    influence, tested = np.zeros(documents), np.zeros(documents, np.bool_)
    value = float(correct.mean())
    influence[document], tested[document] = (correct - value) / len(correct), True
    return Score(value, influence, tested)


def combination(factors: Sequence[float], scores: Sequence[Score]) -> Score:
    """The sum of factor times score."""
    pairs = list(zip(factors, scores, strict=True))
    return Score(
        sum(factor * one.value for factor, one in pairs),
        np.sum([factor * one.influence for factor, one in pairs], axis=0),
        np.any([one.tested for _, one in pairs], axis=0),
        max(one.reach for one in scores),
    )


def mean(scores: Sequence[Score]) -> Score:
    """The mean of several."""
    return combination([1 / len(scores)] * len(scores), scores)


def quotient(top: Score, bottom: Score) -> Score:
    """top / bottom, whose value is not 0, by the delta method."""
    value = top.value / bottom.value
    influence = (top.influence - value * bottom.influence) / bottom.value
    return Score(value, influence, top.tested | bottom.tested, 1 / abs(bottom.value))


def share_estimate(score: Score) -> Estimate:
    """Of an accuracy."""
    n, error = int(score.tested.sum()), _error(score)
    p = min(max(score.value, 0.0), 1.0)
    effective = min(float(n), p * (1 - p) / error**2) if error else float(n)
    return Estimate(score.value, error, share_interval(p, max(effective, 1.0)), score.influence)


def change_estimate(score: Score) -> Estimate:
    """Of a change of accuracy, or a quotient of such."""
    n = max(1, int(score.tested.sum()))
    return Estimate(score.value, max(_error(score), Z * score.reach / n))


def _error(score: Score) -> float:
    n = int(score.tested.sum())
    return sqrt(float(np.square(score.influence).sum()) * n / max(1, n - 1))


def share_figure(own: Score, controls: Mapping[str, Score]) -> dict[str, Any]:
    """An accuracy beside its controls, as JSON: `sae`, and `controls` with their differences."""
    estimate = share_estimate(own)

    def beside(control: Score) -> dict[str, Any]:
        other = share_estimate(control)
        return {**other.body(), "difference": difference(estimate, other).body()}

    return {
        "sae": estimate.body(),
        "controls": [{"control": name, **beside(one)} for name, one in controls.items()],
    }


def change_figure(own: Score, controls: Mapping[str, Score]) -> dict[str, Any]:
    """A change beside its controls, as share_figure gives an accuracy."""

    def beside(control: Score) -> dict[str, Any]:
        less = combination([1, -1], [own, control])
        return {**change_estimate(control).body(), "difference": change_estimate(less).body()}

    return {
        "sae": change_estimate(own).body(),
        "controls": [{"control": name, **beside(one)} for name, one in controls.items()],
    }
