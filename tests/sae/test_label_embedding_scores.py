"""Labels scored by meaning on planted topics: labels whose words are not in the text are right, permuted ones are chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sae.labels.embedding_scores import with_embedding_scores
from sae.labels.endpoint.windows import Windows
from sae.labels.examples import LabelExamples, draw_examples
from sae.labels.label_features import FeatureLabels, Label, ScoredLabel
from sae.labels.predicate import Predicate
from sae.labels.scores import ExactScore, LabelScore
from sae.labels.text import LabelText
from sae.labels.text_windows import AFTER, BEFORE, TextWindows
from sae.metrics.intervals import Estimate
from sae.text.word_vectors import word_vectors

TOPICS = {
    "petroleum industry": "oil crude barrels refinery pipeline drilling",
    "trains": "railway station locomotive track passenger carriage",
    "soldiers": "army troops war battalion weapons military",
    "music": "song guitar album melody orchestra concert",
    "medicine": "hospital doctor patient disease surgery nurse",
}
WORDS = " ".join(TOPICS.values()).split()
ROWS, LENGTH, EACH = 60, 48, 6
NOISE = len(TOPICS)  # a feature that is active anywhere


def strings(ids: Sequence[int]) -> list[str]:
    return [f" {WORDS[i]}" for i in ids]


def topics_text() -> LabelText:
    """Two documents in a row, each of words of one topic."""
    random = np.random.default_rng(0)
    document = 2 * np.arange(ROWS)[:, None] + (np.arange(LENGTH) >= random.integers(8, LENGTH - 8, (ROWS, 1)))
    tokens = (document % len(TOPICS)) * EACH + random.integers(0, EACH, (ROWS, LENGTH))
    return LabelText(tokens.astype(np.int32), np.ones((ROWS, LENGTH), np.bool_), document, lambda i: strings([i])[0])


def features(text: LabelText) -> list[FeatureLabels]:
    """A feature for each topic with its name as a label in words and that of the next topic as control, and one of noise."""
    random, test, none = np.random.default_rng(1), np.flatnonzero(text.test), np.zeros(0, np.int64)
    found = []
    known, unknown = Estimate(0.5, None, (0.5, 0.5)), ExactScore(None, None)
    for feature in range(NOISE + 1):
        mask = text.document % len(TOPICS) == feature if feature < NOISE else random.random(len(text.form)) < 0.1
        names = list(TOPICS)
        own, other = names[feature % NOISE], names[(feature + 1) % NOISE]
        examples = draw_examples(np.flatnonzero(mask), none, text.test, test, text, 40, (0, feature))
        score = LabelScore(known, None, None)
        label = Label(feature, "endpoint", Predicate(), none, text=own)
        one = ScoredLabel(label, unknown, score, unknown, (feature + 1) % NOISE, score, known, other)
        found.append(FeatureLabels(feature, "obscure", [one], examples))
    return found


@pytest.fixture(scope="module")
def scored() -> list[FeatureLabels]:
    text, words = topics_text(), word_vectors()
    return with_embedding_scores(features(text), TextWindows(text, strings, words), words)


def test_a_label_in_words_is_right_about_its_topic_and_a_permuted_one_is_not(scored: list[FeatureLabels]) -> None:
    controls = []
    for one in scored[:NOISE]:
        assert one.labels[0].embedding is not None
        own, permuted, difference = one.labels[0].embedding
        assert own.both.value >= 0.95
        controls.append(permuted.both.value)
        assert own.both.interval is not None and own.both.interval[0] <= own.both.value <= own.both.interval[1]
        assert own.near is None, "all text with the feature's tokens is of its topic"
        assert own.random is not None and own.random.value == own.both.value
        assert difference.value == pytest.approx(own.both.value - permuted.both.value)
        assert difference.body()["low"] > 0
    assert np.mean(controls) == pytest.approx(0.5, abs=0.1)
    noise = scored[NOISE].labels[0].embedding
    assert noise is not None and noise.own.both.value == pytest.approx(0.5, abs=0.15)
    assert noise.difference.body()["low"] < 0
    assert noise.own.near is not None


def test_a_label_without_examples_or_without_a_word_has_no_score() -> None:
    text, words = topics_text(), word_vectors()
    one = features(text)[0]
    empty = LabelExamples(one.test.active, *(np.zeros(0, np.int64) for _ in range(2)))
    wordless = one.labels[0]._replace(control="")
    found = with_embedding_scores(
        [one._replace(test=empty), one._replace(labels=[wordless]), one._replace(labels=[])],
        TextWindows(text, strings, words),
        words,
    )
    assert [[label.embedding for label in each.labels] for each in found] == [[None], [None], []]


def test_the_vector_of_a_window_is_that_of_its_text_within_row_and_document() -> None:
    text, words = topics_text(), word_vectors()
    windows, shown = TextWindows(text, strings, words), Windows(text, strings, max(BEFORE, AFTER))
    at = np.arange(2 * text.length)
    vectors = windows.of(at)
    for position in at:
        start, stop = shown.span(int(position))
        start, stop = max(start, position - BEFORE), min(stop, position + AFTER + 1)
        if start % text.length == 0:  # a text that begins with a space has one token more
            continue
        whole = words.of(["".join(strings(text.tokens[start:stop].tolist())).strip()])[0]
        assert np.allclose(vectors[position], whole, atol=1e-5)


def test_weak_and_silent_positions_of_the_explain_part_change_no_score() -> None:
    """Only test examples are read: those of the explain part may be anything."""
    text, words = topics_text(), word_vectors()
    other = LabelText(
        np.where(text.explain, 0, text.tokens).reshape(ROWS, LENGTH).astype(np.int32),
        np.ones((ROWS, LENGTH), np.bool_), text.document.reshape(ROWS, LENGTH), lambda i: strings([i])[0],
    )  # fmt: skip
    found = features(text)
    first, second = (with_embedding_scores(found, TextWindows(one, strings, words), words) for one in (text, other))
    assert [a.labels[0].embedding for a in first] == [b.labels[0].embedding for b in second]
