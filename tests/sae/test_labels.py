"""Labels of planted features, predicates against loops, and the split of documents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.labels.activations import Activations
from sae.labels.examples import draw_examples
from sae.labels.label_features import Directions, FeatureLabels, find_labels, score_labels
from sae.labels.predicate import CONTEXT, Predicate, holds, positions
from sae.labels.text import LabelText, documents_in_test
from tests.sae.planted_text import (
    CONTEXT_FEATURES,
    NOISE_FEATURES,
    SETTINGS,
    TOKEN_FEATURES,
    planted,
    random_text,
    word,
)


@pytest.fixture(scope="module")
def labelled() -> tuple[LabelText, Activations, list[FeatureLabels]]:
    text, active = planted()
    n = active.features
    directions = Directions(
        [[] for _ in range(n)], [[(f + 1) % n] for f in range(n)], [[0.9 * (f == 0)] for f in range(n)]
    )
    found = find_labels(text, active, directions, SETTINGS)
    return text, active, list(score_labels(text, active, found, SETTINGS))


def test_labels_of_planted_features_are_found_and_permuted_ones_are_chance(
    labelled: tuple[LabelText, Activations, list[FeatureLabels]],
) -> None:
    _, _, features = labelled
    kinds = (("tokens", 0, TOKEN_FEATURES), ("context", TOKEN_FEATURES, TOKEN_FEATURES + CONTEXT_FEATURES))
    for method, first, stop in kinds:
        scored = [one for f in features[first:stop] for one in f.labels if one.label.method == method]
        assert len(scored) == stop - first
        assert all(one.beats for one in scored)
        assert np.mean([one.score.both.value for one in scored]) >= 0.95
        assert np.mean([one.permuted.both.value for one in scored]) == pytest.approx(0.5, abs=0.05)
        assert {f.type for f in features[first:stop]} == {method}
    assert [f.type for f in features[-NOISE_FEATURES:]].count("obscure") == NOISE_FEATURES


def test_a_label_of_tokens_alone_fails_on_near_misses_of_a_feature_of_context(
    labelled: tuple[LabelText, Activations, list[FeatureLabels]],
) -> None:
    _, _, features = labelled
    for one in features[TOKEN_FEATURES : TOKEN_FEATURES + CONTEXT_FEATURES]:
        tokens = next(label for label in one.labels if label.label.method == "tokens")
        assert tokens.score.near is not None and tokens.score.random is not None
        assert tokens.score.near.value < tokens.score.random.value


def test_an_inherited_label_names_its_origin(labelled: tuple[LabelText, Activations, list[FeatureLabels]]) -> None:
    _, _, features = labelled
    inherited = [one.label for f in features for one in f.labels if one.label.method == "neighbours"]
    assert [(one.feature, one.inherited_from) for one in inherited] == [(0, 1)]


def test_no_example_and_no_document_is_in_both_parts(
    labelled: tuple[LabelText, Activations, list[FeatureLabels]],
) -> None:
    text, active, features = labelled
    assert not (text.test & text.explain).any()
    assert not set(text.document[text.test]) & set(text.document[text.explain])
    for one in features:
        tested = np.concatenate(one.test)
        assert text.test[tested].all()
        assert len(np.unique(tested)) == one.test.total
        assert all(text.explain[label.label.evidence].all() for label in one.labels)
        silent = np.concatenate([one.test.near, one.test.random])
        assert not np.isin(silent, active.of(one.feature)).any()
        assert np.isin(one.test.active, active.of(one.feature)).all()
        assert np.isin(text.form[one.test.near], text.form[one.test.active]).all()


def test_exact_precision_and_recall(labelled: tuple[LabelText, Activations, list[FeatureLabels]]) -> None:
    text, active, features = labelled
    for one in features:
        truth = np.zeros(len(text.form), np.bool_)
        truth[active.of(one.feature)] = True
        for label in one.labels:
            predicted = holds(label.label.predicate, text, np.arange(len(text.form)))
            both, claimed, real = ((part & text.test).sum() for part in (truth & predicted, predicted, truth))
            assert label.exact.recall == pytest.approx(both / real)
            assert label.exact.precision == (pytest.approx(both / claimed) if claimed else None)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 10**6))
def test_a_predicate_holds_where_a_loop_says(data: st.DataObject, seed: int) -> None:
    text = random_text(3, 23, 4, seed)
    one = st.integers(0, 5).map(lambda token: f"word{token}")
    follows = data.draw(st.booleans())
    phrase = st.lists(one, min_size=1, max_size=1 if follows else 3).map(tuple)
    phrases = tuple(data.draw(st.lists(phrase, max_size=3)))
    context = () if follows else tuple(data.draw(st.lists(one, max_size=2)))
    predicate = Predicate(phrases, context, follows)
    forms = [word(int(token)).strip().casefold() for token in text.tokens]
    place = list(zip(np.arange(len(forms)) // text.length, text.document, strict=True))

    def same(p: int, q: int) -> bool:
        return 0 <= q < len(forms) and place[p] == place[q]

    def looped(p: int) -> bool:
        if not phrases and not context:
            return False
        if follows:
            return same(p, p + 1) and (forms[p + 1],) in phrases
        ends = any(
            all(same(p, p - i) and forms[p - i] == part for i, part in enumerate(reversed(phrase)))
            for phrase in phrases
        )
        near = any(same(p, p - i) and forms[p - i] in context for i in range(1, CONTEXT + 1))
        return (ends or not phrases) and (near or not context)

    expected = [looped(p) for p in range(len(forms))]
    at = np.array(data.draw(st.lists(st.integers(0, len(forms) - 1), max_size=20)), np.int64)
    assert holds(predicate, text, at).tolist() == [expected[p] for p in at]
    assert sorted(positions(predicate, text).tolist()) == np.flatnonzero(expected).tolist()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=50), st.integers(0, 2**63))
def test_the_split_is_a_function_of_the_document_alone(documents: list[int], seed: int) -> None:
    many = np.array(documents, np.int64)
    together = documents_in_test(many, seed)
    assert [bool(documents_in_test(many[i : i + 1], seed)[0]) for i in range(len(many))] == together.tolist()


def test_half_of_the_documents_are_tested_on_and_the_seed_changes_which() -> None:
    documents = np.arange(10_000)
    first, second = documents_in_test(documents, 0), documents_in_test(documents, 1)
    assert first.mean() == pytest.approx(0.5, abs=0.02)
    assert (first != second).mean() == pytest.approx(0.5, abs=0.02)


def test_examples_of_a_feature_that_is_silent_or_always_active() -> None:
    text = random_text(4, 16, 5, 0)
    test, none = np.flatnonzero(text.test), np.zeros(0, np.int64)
    silent = draw_examples(none, none, text.test, test, text, 8, (0,))
    assert len(silent.active) == len(silent.near) == 0
    everywhere = draw_examples(np.arange(len(text.form)), none, text.test, test, text, 8, (0,))
    assert len(everywhere.near) == len(everywhere.random) == 0


def test_weak_activations_are_neither_active_nor_silent() -> None:
    text, planted_ones = planted()
    values = np.where(np.arange(len(planted_ones.values)) % 3 == 0, np.float32(0.1), np.float32(1))
    active = planted_ones._replace(values=values)
    n = active.features
    nothing = Directions([[] for _ in range(n)], [[] for _ in range(n)], [[] for _ in range(n)])
    chosen = SETTINGS._replace(strength=0.5)
    for one in list(score_labels(text, active, find_labels(text, active, nothing, chosen), chosen))[:TOKEN_FEATURES]:
        strong, weak = active.split(one.feature, text.explain, chosen.strength)
        assert len(strong) > len(weak) > 0
        assert np.isin(one.test.active, strong).all()
        assert not np.isin(np.concatenate(one.test), weak).any()
        assert (one.labels[0].exact.precision, one.labels[0].exact.recall) == (1.0, 1.0)
