"""How well a label predicts where a feature is active, on examples that it was not made from, beside a permuted label."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np

from sae.labels.examples import LabelExamples
from sae.labels.text import Int64, Mask
from sae.metrics.intervals import Estimate, difference, share


class LabelScore(NamedTuple):
    """Balanced accuracy over all silent examples, over near misses and random ones alone (None without such examples)."""

    both: Estimate
    near: Estimate | None
    random: Estimate | None


class ExactScore(NamedTuple):
    """Over all positions of a part: the share of predicted ones that are active, and of active ones that are predicted."""

    precision: float | None
    recall: float | None

    @property
    def f1(self) -> float:
        """Their harmonic mean; 0 where one of them is 0 or has no meaning."""
        p, r = self.precision or 0.0, self.recall or 0.0
        return 2 * p * r / (p + r) if p + r else 0.0


def score(holds: Callable[[Int64], Mask], examples: LabelExamples) -> LabelScore | None:
    """Scores a label that `holds` at some of the positions [n] that it is given. None without both active and silent examples."""
    ends = np.cumsum([len(at) for at in examples])[:-1]
    active, near, random = np.split(holds(np.concatenate(examples)), ends)
    hit = share(int(active.sum()), len(active))
    sides = [share(int((~said).sum()), len(said)) for said in (np.concatenate([near, random]), near, random)]
    both, *apart = (None if hit is None or side is None else balanced(hit, side) for side in sides)
    return None if both is None else LabelScore(both, *apart)


def exact(predicted: Int64, hits: int, ignored: int, active: int, part: Mask) -> ExactScore:
    """Precision and recall on a part of the text of a label that holds at the positions `predicted`.

    `active` positions of the part count as active, `hits` of them predicted; so are `ignored` ones that do not count.
    """
    claimed = int(part[predicted].sum()) - ignored
    return ExactScore(hits / claimed if claimed else None, hits / active if active else None)


def balanced(hit: Estimate, silent: Estimate) -> Estimate:
    """The mean of two independent shares, its interval from the distances to the ends of theirs (Newcombe)."""
    value = (hit.value + silent.value) / 2
    low, high = (
        sqrt(sum((one.value - (one.interval or (one.value, one.value))[side]) ** 2 for one in (hit, silent))) / 2
        for side in (0, 1)
    )
    return Estimate(value, None, (value - low, value + high))


def above(label: LabelScore, permuted: LabelScore) -> Estimate:
    """How much better a label is than a permuted one: the result. Its interval takes the two for independent."""
    return difference(label.both, permuted.both)
