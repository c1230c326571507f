"""The label method `context`: words before a position that tell active text from silent text on the same tokens."""

from __future__ import annotations

import numpy as np

from sae.labels.examples import LabelExamples
from sae.labels.predicate import Predicate, contexts
from sae.labels.text import Int64, LabelText, Mask

_MOST = 6  # words of one label
_LEAST_GAIN = 0.02  # of balanced accuracy that one more word must bring
_LEAST_EXAMPLES = 8
_CANDIDATES = 40


def find_context(examples: LabelExamples, phrases: Predicate | None, text: LabelText) -> Predicate | None:
    """Words for the explain examples, beside the phrases that must end at the position, if there are any.

    With phrases the words tell near misses apart, else near misses and random positions. None if there are too few
    examples, or no word tells them apart.
    """
    silent = examples.near if phrases else np.concatenate([examples.near, examples.random])
    if min(len(examples.active), len(silent)) < _LEAST_EXAMPLES:
        return None
    pairs = contexts(np.concatenate([examples.active, silent]), text)
    words = _choose(pairs, len(examples.active), len(silent), text)
    return Predicate(phrases.phrases if phrases else (), words) if words else None


def _choose(pairs: tuple[Int64, Int64], n_active: int, n_silent: int, text: LabelText) -> tuple[str, ...]:
    """Greedily the words whose union gains most: share of active contexts with one of them, less that of silent ones."""
    example, form = pairs
    n = n_active + n_silent
    forms, column = np.unique(form, return_inverse=True)
    present = np.zeros((len(forms), n), np.bool_)
    present[column, example] = True
    weight = np.where(np.arange(n) < n_active, 1 / n_active, -1 / n_silent)
    top = np.argsort(present @ -weight, kind="stable")[:_CANDIDATES]
    forms, present = forms[top], present[top]
    covered: Mask = np.zeros(n, np.bool_)
    words: list[str] = []
    while len(words) < _MOST and len(forms):
        gains = np.where(covered, False, present) @ weight
        best = int(np.argmax(gains))
        if gains[best] / 2 < _LEAST_GAIN:
            break
        words.append(str(text.forms[forms[best]]))
        covered |= present[best]
    return tuple(words)
