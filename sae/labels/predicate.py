"""Predicates: labels that are executed on text, so that their precision and recall are exact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sae.labels.text import Int64, LabelText, Mask

CONTEXT = 16  # positions before a position that count as its context


class Predicate(NamedTuple):
    """Holds at positions where one of `phrases` ends, and one of `context` is among the 16 positions before.

    No phrases: any token; no context: any. `follows` says that the phrases, of one form each, are the next token instead.
    """

    phrases: tuple[tuple[str, ...], ...] = ()
    context: tuple[str, ...] = ()
    follows: bool = False

    def describe(self) -> str:
        """The predicate in words."""
        said = ", ".join(repr(" ".join(phrase)) for phrase in self.phrases)
        if self.follows:
            return f"before {said}"
        after = "after " + ", ".join(repr(word) for word in self.context) if self.context else ""
        return " ".join(part for part in (said, after) if part)

    def words(self) -> str:
        """Its word forms alone, without what the predicate says of them."""
        return ", ".join([*(" ".join(phrase) for phrase in self.phrases), *self.context])


def execute(predicate: Predicate, text: LabelText) -> Mask:
    """Where the predicate holds, bool [positions]. One without phrases and context holds nowhere."""
    if not predicate.phrases and not predicate.context:
        return np.zeros(len(text.form), np.bool_)
    found = np.ones(len(text.form), np.bool_)
    if predicate.phrases:
        found = np.zeros(len(text.form), np.bool_)
        for phrase in predicate.phrases:
            length = 0 if predicate.follows else len(phrase)
            key = text.key(phrase)
            if key >= 0:
                found[text.index(length).of(key)] = True
    if predicate.context:
        found &= _after_words(predicate.context, text)
    return found


def _after_words(words: Iterable[str], text: LabelText) -> Mask:
    """Positions with one of the words among the CONTEXT before them in the same row and document."""
    last = np.full(len(text.form), -1, np.int64)
    for word in words:
        key = text.key((word,))
        if key >= 0:
            at = text.index(1).of(key)
            last[at] = at
    # The nearest such word strictly before each position.
    last = np.concatenate([[-1], np.maximum.accumulate(last)[:-1]])
    at = np.arange(len(last))
    near = (last >= 0) & (at - last <= CONTEXT) & (at // text.length == last // text.length)
    found: Mask = near & (text.document == text.document[np.maximum(last, 0)])
    return found


def contexts(at: Int64, text: LabelText) -> tuple[Int64, Int64]:
    """The forms in the contexts of positions [n]: pairs of an index into `at` and a form, each pair once, sorted."""
    offset = np.arange(1, CONTEXT + 1)
    source = at[:, None] - offset
    inside = (source >= 0) & (source // text.length == (at // text.length)[:, None])
    source = np.maximum(source, 0)
    inside &= text.document[source] == text.document[at][:, None]
    which, column = np.nonzero(inside)
    width = len(text.forms)
    pairs = np.unique(which * width + text.form[source[which, column]])
    return pairs // width, pairs % width
