"""The label methods `tokens` and `phrases`: the set of phrases that best tells where a feature is active."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sae.labels.predicate import Predicate
from sae.labels.text import LONGEST_PHRASE, Int64, LabelText

_MOST = 32  # phrases of one label
_FEW = 12  # forms beside words of the context
_SUPPORT = 2  # active positions that a phrase must have
_COVERED = 0.8  # of the active positions, for a set of forms to say which tokens a feature is active on


class Found(NamedTuple):
    """A predicate and its F1 on the text that it was made from."""

    predicate: Predicate
    f1: float


class PhraseFinder:
    """Counts the phrases of the explain part once, for all features."""

    def __init__(self, text: LabelText) -> None:
        self.text = text
        self._counts = {}
        for length in range(1, LONGEST_PHRASE + 1):
            keys = text.keys(length)[text.explain]
            self._counts[length] = np.unique(keys[keys >= 0], return_counts=True)

    def find(self, active: Int64, weak: Int64, length: int) -> Found | None:
        """The phrases of `length` forms with the best F1 for the explain positions `active`; None if none has support.

        Positions `weak` do not count.

        Phrases enter by precision: no other set of their number has a better F1 at the same number of true positions.
        """
        keys_of = self.text.keys(length)
        keys = keys_of[active]
        found, hits = np.unique(keys[keys >= 0], return_counts=True)
        found, hits = found[hits >= _SUPPORT], hits[hits >= _SUPPORT]
        if not len(found):
            return None
        names, counts = self._counts[length]
        total = counts[np.searchsorted(names, found)] - _count(keys_of[weak], found)
        order = np.lexsort((found, -hits, -hits / total))[:_MOST]
        f1 = 2 * np.cumsum(hits[order]) / (np.cumsum(total[order]) + len(active))
        best = int(np.argmax(f1))
        chosen = order[: best + 1]
        chosen = chosen[np.argsort(-hits[chosen], kind="stable")]
        phrases = tuple(self.text.phrase(int(key), length) for key in found[chosen])
        return Found(Predicate(phrases), float(f1[best]))

    def cover(self, active: Int64) -> Predicate | None:
        """The few forms that most of the explain positions `active` are on, often first; None if it takes more than a few."""
        found, hits = np.unique(self.text.form[active], return_counts=True)
        order = np.lexsort((found, -hits))[:_FEW]
        order = order[hits[order] >= _SUPPORT]
        if hits[order].sum() < _COVERED * len(active):
            return None
        return Predicate(tuple(self.text.phrase(int(form), 1) for form in found[order]))


def _count(keys: Int64, wanted: Int64) -> Int64:
    """How often each of the ascending `wanted` is among `keys`."""
    at = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    return np.bincount(at[wanted[at] == keys], minlength=len(wanted))
