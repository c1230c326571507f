"""What is searched of a feature: the words of its labels, and the text around its strongest activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sae.labels.activations import Activations
from sae.labels.label_features import Directions
from sae.labels.text import Int64, LabelText
from sae.labels.text_windows import AFTER, BEFORE

_METHODS = ("tokens", "phrases", "context")  # labels of what a feature reads; the others name other tokens
_PHRASES = 12  # of one label, the most frequent
_EXAMPLES = 5  # strongest activations


class SearchTexts(NamedTuple):
    """Two texts a feature: words of its labels, and examples. Either may be empty."""

    words: list[str]
    examples: list[str]


def search_texts(
    text: LabelText,
    active: Activations,
    labels: Iterable[dict[str, Any]],
    directions: Directions,
    strings: Callable[[Sequence[int]], list[str]],
) -> SearchTexts:
    """The texts of every feature, from the explain part. `labels`: rows of the table of labels; `strings`: texts of tokens.

    A feature that is never active there is searched by the tokens that it promotes.
    """
    words: list[dict[str, None]] = [{} for _ in range(active.features)]
    for row in labels:
        if row["method"] in _METHODS:
            phrases = [" ".join(phrase) for phrase in row["phrases"][:_PHRASES]]
            words[row["feature"]] |= dict.fromkeys(phrases + row["context"])
    found = SearchTexts([], [])
    for feature in range(active.features):
        windows = [
            "".join(strings(_around(int(position), text).tolist())) for position in _strongest(feature, text, active)
        ]
        found.words.append(", ".join(words[feature]) if windows else ", ".join(directions.promoted[feature]))
        found.examples.append(" ; ".join(windows))
    return found


def _strongest(feature: int, text: LabelText, active: Activations) -> Int64:
    at, values = active.of(feature), active.values_of(feature)
    inside = text.explain[at]
    order = np.argsort(-values[inside], kind="stable")[:_EXAMPLES]
    return at[inside][order]


def _around(position: int, text: LabelText) -> Int64:
    """The tokens of the same row and document around a position."""
    row = position // text.length * text.length
    places = np.arange(max(row, position - BEFORE), min(row + text.length, position + AFTER + 1))
    around: Int64 = text.tokens[places[text.document[places] == text.document[position]]]
    return around
