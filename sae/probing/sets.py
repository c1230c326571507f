"""Balanced sets of documents that train and test a probe."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from sae.formats.labelled_rows import Int64
from sae.probing.documents import CELLS, Labelled

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class ProbeSet(NamedTuple):
    """Documents by their numbers, int64 [n], and whether each is of the class, bool [n]; half of them are."""

    train: Int64
    train_y: Mask
    test: Int64
    test_y: Mask


class SpuriousSets(NamedTuple):
    """`biased` has training documents whose class goes with the spurious value; `balanced` and `spurious` have equally many of
    each combination, labelled by class and by spurious value. All have the same test documents, balanced ones."""

    biased: ProbeSet
    balanced: ProbeSet
    spurious: ProbeSet


def class_sets(documents: Labelled, usable: Mask, seed: int) -> list[ProbeSet]:
    """For each class a set against as many documents of all others. usable bool [D]: documents that have data positions."""
    found = []
    for number in range(len(documents.classes)):
        random = default_rng([seed, 0, number])
        own = documents.label == number
        train, test = (
            _balanced([np.flatnonzero(side & own), np.flatnonzero(side & ~own)], (True, False), random)
            for side in (usable & ~documents.test, usable & documents.test)
        )
        found.append(ProbeSet(*train, *test))
    return found


def spurious_sets(documents: Labelled, usable: Mask, seed: int) -> SpuriousSets:
    """The sets of spurious correlation removal. The biased one is no larger than the balanced one."""
    random = default_rng([seed, 1])
    train, test = (
        [np.flatnonzero(usable & side & (documents.cell == i)) for i in range(len(CELLS))]
        for side in (~documents.test, documents.test)
    )
    classes, values = [a == 0 for a, _ in CELLS], [b == 0 for _, b in CELLS]
    balanced, balanced_y = _balanced(train, classes, random)
    tested, tested_y = _balanced(test, classes, random)
    value_y, tested_value_y = (np.isin(documents.cell[one], np.flatnonzero(values)) for one in (balanced, tested))
    going_together = [i for i, (a, b) in enumerate(CELLS) if a == b]
    most = len(balanced) // 2
    biased, biased_y = _balanced([train[i] for i in going_together], [classes[i] for i in going_together], random, most)
    return SpuriousSets(
        ProbeSet(biased, biased_y, tested, tested_y),
        ProbeSet(balanced, balanced_y, tested, tested_y),
        ProbeSet(balanced, value_y, tested, tested_value_y),
    )


def _balanced(
    groups: list[Int64], classes: list[bool] | tuple[bool, ...], random: Generator, most: int | None = None
) -> tuple[Int64, Mask]:
    """As many documents of each group as the smallest has, `most` at most, in order of their numbers; and their classes."""
    size = min(len(group) for group in groups)
    size = size if most is None else min(size, most)
    chosen = np.concatenate([np.sort(random.permutation(group)[:size]) for group in groups])
    y = np.repeat(np.array(classes, np.bool_), size)
    order = np.argsort(chosen, kind="stable")
    return chosen[order].astype(np.int64), y[order]


def contrast(train: Int64, y: Mask, documents: int) -> Floats:
    """Weights float64 [D] whose sum over documents is a mean over those of the class, less the mean over the others."""
    found = np.zeros(documents)
    found[train[y]], found[train[~y]] = 1 / max(1, y.sum()), -1 / max(1, (~y).sum())
    return found
