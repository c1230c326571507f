"""Labels of every feature by every method, scored on text that no label was made from, each beside a permuted label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.labels.activations import Activations
from sae.labels.context import find_context
from sae.labels.examples import LabelExamples, draw_examples
from sae.labels.feature_type import FeatureType, Reached, feature_type, is_positional
from sae.labels.phrases import Found, PhraseFinder
from sae.labels.predicate import Predicate, holds, positions
from sae.labels.scores import ExactScore, LabelScore, above, exact, score
from sae.labels.text import LONGEST_PHRASE, Int64, LabelText
from sae.metrics.intervals import Estimate

METHODS = ("tokens", "phrases", "context", "promoted", "neighbours")
_EVIDENCE = 5
EXPLAIN, TEST, _PERMUTE = 1, 2, 3  # of seeds


class LabelSettings(NamedTuple):
    """How labels are made. `examples`: at most, of each kind and feature, in either part of the text.

    `strength`: share of a feature's largest activation from which it counts as active; weaker: neither active nor silent.
    `min_cosine`: of the decoder directions, for a feature to inherit its neighbour's label. `effect_examples`: positions of
    each feature at which its effect is measured. `steering_prompt`: of the example of steering, if there is one.
    """

    examples: int
    strength: float
    min_cosine: float
    seed: int
    effect_examples: int = 0
    steering_prompt: str | None = None


class Directions(NamedTuple):
    """What extraction says of each feature: the texts of promoted tokens, and neighbours with their cosines."""

    promoted: Sequence[Sequence[str]]
    neighbours: Sequence[Sequence[int]]
    cosines: Sequence[Sequence[float]]


class Label(NamedTuple):
    """A label of one method. `inherited_from`: the neighbour that it was made for; evidence: active explain positions.

    `text`: a label in words, which no predicate stands for.
    """

    feature: int
    method: str
    predicate: Predicate
    evidence: Int64
    inherited_from: int | None = None
    text: str | None = None

    def describe(self) -> str:
        """The label in words."""
        return self.predicate.describe() if self.text is None else self.text

    def words(self) -> str:
        """Its words alone, for its vector by meaning."""
        return self.predicate.words() if self.text is None else self.text


class EmbeddingScore(NamedTuple):
    """ROC-AUC of the likeness of a label's words to the text around test examples; that of the permuted one; the difference."""

    own: LabelScore
    permuted: LabelScore
    difference: Estimate


class ScoredLabel(NamedTuple):
    """A label with its scores on the test part, and the same of a permuted one: that of `permuted_feature`.

    `explained`: precision and recall on the explain part, by which the best label is chosen. `test`: the examples, if they
    are not those of the feature's other labels. `control`: the words of the permuted label.
    """

    label: Label
    explained: ExactScore
    score: LabelScore
    exact: ExactScore
    permuted_feature: int
    permuted: LabelScore
    difference: Estimate
    control: str
    test: LabelExamples | None = None
    embedding: EmbeddingScore | None = None

    @property
    def beats(self) -> bool:
        """Whether the label is better than the permuted one with a 95% interval."""
        return self.difference.body()["low"] is not None and float(self.difference.body()["low"]) > 0


class FeatureLabels(NamedTuple):
    """All scored labels of a feature, the best first. `test`: examples that they were scored on."""

    feature: int
    type: FeatureType
    labels: list[ScoredLabel]
    test: LabelExamples


def find_labels(
    text: LabelText, active: Activations, directions: Directions, settings: LabelSettings
) -> list[list[Label]]:
    """The labels of each feature, from the explain part alone; none of a method that finds nothing."""
    finder, explain = PhraseFinder(text), np.flatnonzero(text.explain)
    found = [_find(feature, finder, explain, active, directions, settings) for feature in range(active.features)]
    for feature, labels in enumerate(found):
        inherited = _inherit(feature, found, directions, settings.min_cosine)
        if inherited is not None:
            labels.append(inherited)
    return found


def score_labels(
    text: LabelText,
    active: Activations,
    found: Sequence[Sequence[Label]],
    settings: LabelSettings,
    promotes: npt.NDArray[np.bool_] | None = None,
    on_done: Callable[[int], None] = lambda done: None,
) -> Iterator[FeatureLabels]:
    """Scores the labels on the test part. A permuted label is that of another feature, drawn among those of its method.

    `promotes` [features]: which were found to promote what they should, see feature_type.
    """
    test = np.flatnonzero(text.test)
    by_method: dict[str, list[Label]] = {method: [] for method in METHODS}
    for labels in found:
        for label in labels:
            by_method[label.method].append(label)

    # An inherited label was made by one of these.
    by_method["neighbours"] = by_method["tokens"] + by_method["phrases"] + by_method["context"]
    for feature, labels in enumerate(found):
        strong, weak = active.split(feature, text.explain, settings.strength)
        seed = (settings.seed, feature, TEST)
        examples = draw_examples(strong, weak, text.test, test, text, settings.examples, seed)
        scored = [
            _score(label, by_method[label.method], text, (strong, weak), examples, settings.seed) for label in labels
        ]
        kept = sorted((one for one in scored if one is not None), key=_by_f1)
        reached = {one.label.method: Reached(one.score.both.value, one.beats) for one in kept}
        density = int(text.test[active.of(feature)].sum()) / max(1, len(test))
        positional = is_positional(strong[text.test[strong]], text)
        kind = feature_type(reached, density, positional, promotes is not None and bool(promotes[feature]))
        yield FeatureLabels(feature, kind, kept, examples)
        on_done(feature + 1)


def _find(
    feature: int,
    finder: PhraseFinder,
    explain: Int64,
    active: Activations,
    directions: Directions,
    settings: LabelSettings,
) -> list[Label]:
    text, at = finder.text, active.of(feature)
    inside = text.explain[at]
    strong, weak = active.split(feature, text.explain, settings.strength)
    mine, ignored = strong[text.explain[strong]], weak[text.explain[weak]]
    if not len(mine):
        return []
    strongest = np.argsort(-active.values_of(feature)[inside], kind="stable")[:_EVIDENCE]
    evidence = at[inside][strongest]
    tokens = finder.find(mine, ignored, 1)
    longer = [found for n in range(2, LONGEST_PHRASE + 1) if (found := finder.find(mine, ignored, n))]
    phrases: Found | None = max(longer, key=lambda one: one.f1, default=None)
    drawn = draw_examples(
        strong, weak, text.explain, explain, text, settings.examples, (settings.seed, feature, EXPLAIN)
    )
    predicates = {
        "tokens": tokens.predicate if tokens else None,
        "phrases": phrases.predicate if phrases else None,
        "context": find_context(drawn, finder.cover(mine), text),
        "promoted": _promoted(directions.promoted[feature], text),
    }
    return [Label(feature, method, one, evidence) for method, one in predicates.items() if one is not None]


def _promoted(tokens: Sequence[str], text: LabelText) -> Predicate | None:
    """That the next token is one that the decoder direction promotes."""
    forms = dict.fromkeys(token.strip().casefold() for token in tokens)
    known = tuple((form,) for form in forms if form in text.number)
    return Predicate(known, follows=True) if known else None


def _inherit(feature: int, found: Sequence[Sequence[Label]], directions: Directions, min_cosine: float) -> Label | None:
    """The first own label of the nearest direction that has one and whose cosine suffices."""
    for other, cosine in zip(directions.neighbours[feature], directions.cosines[feature], strict=True):
        own = [label for label in found[other] if label.inherited_from is None and not label.predicate.follows]
        if cosine < min_cosine:
            return None
        if own:
            return own[0]._replace(feature=feature, method="neighbours", inherited_from=other)
    return None


def _score(
    label: Label,
    others: Sequence[Label],
    text: LabelText,
    active: tuple[Int64, Int64],
    examples: LabelExamples,
    seed: int,
) -> ScoredLabel | None:
    random = np.random.default_rng((seed, label.feature, METHODS.index(label.method), _PERMUTE))
    # Another feature's label; one with the very same predicate is no other label.
    other = next(
        (
            one
            for one in (others[int(i)] for i in random.integers(0, len(others), 20))
            if one.feature != label.feature and one.predicate != label.predicate
        ),
        None,
    )
    own = score(partial(holds, label.predicate, text), examples)
    if other is None or own is None:
        return None
    permuted = score(partial(holds, other.predicate, text), examples)
    assert permuted is not None
    gained = above(own, permuted)
    explained, tested = _exact(label.predicate, text, *active)
    return ScoredLabel(label, explained, own, tested, other.feature, permuted, gained, other.words())


def _exact(predicate: Predicate, text: LabelText, strong: Int64, weak: Int64) -> tuple[ExactScore, ExactScore]:
    """On the explain and the test part. The feature is active at `strong`; its `weak` positions do not count."""
    predicted, said = positions(predicate, text), holds(predicate, text, np.concatenate([strong, weak]))
    hit, ignored = said[: len(strong)], said[len(strong) :]
    explained, tested = (
        exact(predicted, int(hit[part[strong]].sum()), int(ignored[part[weak]].sum()), int(part[strong].sum()), part)
        for part in (text.explain, text.test)
    )
    return explained, tested


def _by_f1(one: ScoredLabel) -> tuple[float, int]:
    return -one.explained.f1, METHODS.index(one.label.method)
