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


def holds(predicate: Predicate, text: LabelText, at: Int64) -> Mask:
    """Whether the predicate holds at each of the positions `at`, bool [n]. One without phrases and context holds nowhere."""
    if not predicate.phrases:
        return _words_before(predicate.context, text, at) if predicate.context else np.zeros(len(at), np.bool_)
    found: Mask = np.zeros(len(at), np.bool_)
    for length, keys in _keys(predicate, text).items():
        np.logical_or(found, _among(text.keys(length)[at], np.sort(np.array(keys, np.int64))), out=found)
    if predicate.context:
        found[found] = _words_before(predicate.context, text, at[found])
    return found


def positions(predicate: Predicate, text: LabelText) -> Int64:
    """All positions where the predicate holds, each once, in no order."""
    if not predicate.phrases:
        return np.flatnonzero(_after_words(predicate.context, text))
    ends = [text.index(length).of(key) for length, keys in _keys(predicate, text).items() for key in keys]
    at = np.concatenate([*ends, np.zeros(0, np.int64)])
    if len(_keys(predicate, text)) > 1:  # phrases of unequal length may end at one position
        at = np.unique(at)
    return at[_words_before(predicate.context, text, at)] if predicate.context else at


def _keys(predicate: Predicate, text: LabelText) -> dict[int, list[int]]:
    """Keys of the phrases that occur in the text, by the length of LabelText.keys."""
    found: dict[int, list[int]] = {}
    for phrase in dict.fromkeys(predicate.phrases):
        key = text.key(phrase)
        if key >= 0:
            found.setdefault(0 if predicate.follows else len(phrase), []).append(key)
    return found


def _words_before(words: Iterable[str], text: LabelText, at: Int64) -> Mask:
    """Whether one of the words is among the CONTEXT positions before each of `at`, in the same row and document."""
    found = _occurrences(words, text)
    first = np.maximum(at - CONTEXT, text.segment_start[at])
    near: Mask = np.searchsorted(found, at) > np.searchsorted(found, first)
    return near


def _among(values: Int64, wanted: Int64) -> Mask:
    """Whether each value is one of the ascending `wanted`. numpy.isin sorts the values, which are many more."""
    found: Mask = wanted[np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)] == values
    return found


def _after_words(words: Iterable[str], text: LabelText) -> Mask:
    """_words_before for all positions, bool [positions], by the number of words before each."""
    size = len(text.form)
    before = np.zeros(size + 1, np.int64)
    before[_occurrences(words, text) + 1] = 1
    np.cumsum(before, out=before)
    first = np.maximum(np.arange(size) - CONTEXT, text.segment_start)
    near: Mask = before[:-1] > before[first]
    return near


def _occurrences(words: Iterable[str], text: LabelText) -> Int64:
    """Positions of all of the words, ascending."""
    keys = {key for word in words if (key := text.key((word,))) >= 0}
    return np.sort(np.concatenate([*(text.index(1).of(key) for key in keys), np.zeros(0, np.int64)]))


def contexts(at: Int64, text: LabelText) -> tuple[Int64, Int64]:
    """The forms in the contexts of positions [n]: pairs of an index into `at` and a form, each pair once, sorted."""
    source, inside = _before(at, text)
    which, column = np.nonzero(inside)
    width = len(text.forms)
    pairs = np.unique(which * width + text.form[source[which, column]])
    return pairs // width, pairs % width


def _before(at: Int64, text: LabelText) -> tuple[Int64, Mask]:
    """The CONTEXT positions before each of `at` [n, 16], and which of them are of its row and document."""
    source = at[:, None] - np.arange(1, CONTEXT + 1)
    inside = (source >= 0) & (source // text.length == (at // text.length)[:, None])
    source = np.maximum(source, 0)
    return source, inside & (text.document[source] == text.document[at][:, None])
