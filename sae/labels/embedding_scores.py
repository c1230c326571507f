"""Labels scored by meaning: whether text around active test examples is nearer to a label's words than that around silent ones.

No label is executed and no model runs, so labels in words are scored as predicates are. Beside each score stands that of the
permuted label, another feature's, on the same examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sae.labels.label_features import EmbeddingScore, FeatureLabels, ScoredLabel
from sae.labels.scores import LabelScore, above
from sae.labels.text import Int64
from sae.labels.text_windows import TextWindows
from sae.metrics.intervals import Estimate, Floats
from sae.metrics.roc_auc import auc_intervals, roc_auc
from sae.text.word_vectors import Float32, WordVectors

_SIDES = 3  # silent examples: all, near misses, random ones


def with_embedding_scores(
    found: Sequence[FeatureLabels], windows: TextWindows, words: WordVectors
) -> list[FeatureLabels]:
    """The same labels with their ROC-AUC and that of their permuted labels.

    None where there are not both kinds of examples, or a label has no word that has a vector.
    """
    vectors = words.of([text for one in found for label in one.labels for text in (label.label.words(), label.control)])
    auc, counts, first = np.full((len(vectors), _SIDES), np.nan), np.zeros((len(vectors), 2, _SIDES), np.int64), 0
    for one in found:
        here = slice(first, first + 2 * len(one.labels))
        if one.labels:
            auc[here], counts[here] = _feature(one, vectors[here], windows)
        first = here.stop
    low, high = auc_intervals(auc.ravel(), counts[:, 0].ravel(), counts[:, 1].ravel())
    ends = np.stack([low, high], 1).reshape(len(vectors), _SIDES, 2)
    scores = [_score(values, interval) for values, interval in zip(auc, ends, strict=True)]
    pairs = iter(zip(scores[::2], scores[1::2], strict=True))
    return [one._replace(labels=[_scored(label, *next(pairs)) for label in one.labels]) for one in found]


def _feature(one: FeatureLabels, vectors: Float32, windows: TextWindows) -> tuple[Floats, Int64]:
    """AUC [labels, sides] of vectors of labels [labels, 256], and numbers of examples [2, sides]."""
    active, near, random = one.test
    around = windows.of(np.concatenate(one.test))
    # Label by label: in one product, a label's sums would round otherwise for another number of labels.
    scores = np.stack([around @ vector for vector in vectors])
    sides = np.split(scores, [len(active), len(active) + len(near)], axis=1)
    by_side = [roc_auc(np.concatenate([sides[0], side], 1), len(active)) for side in sides[1:]]
    sizes = np.array([len(near), len(random)])
    # A pair of examples counts the same wherever the silent one comes from.
    every = np.average([np.where(np.isnan(auc), 0, auc) for auc in by_side], 0, sizes) if sizes.any() else by_side[0]
    auc = np.stack([every if len(active) else by_side[0], *by_side], 1)
    auc[~vectors.any(1)] = np.nan
    return auc, np.array([[len(active)] * _SIDES, [sizes.sum(), *sizes]])


def _score(auc: Floats, ends: Floats) -> LabelScore | None:
    sides = [
        None if np.isnan(value) else Estimate(float(value), None, (float(low), float(high)))
        for value, (low, high) in zip(auc, ends, strict=True)
    ]
    return None if sides[0] is None else LabelScore(sides[0], sides[1], sides[2])


def _scored(label: ScoredLabel, own: LabelScore | None, permuted: LabelScore | None) -> ScoredLabel:
    if own is None or permuted is None:
        return label
    return label._replace(embedding=EmbeddingScore(own, permuted, above(own, permuted)))
