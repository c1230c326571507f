"""Labels in words from a real server on loopback that knows the planted features: what it is asked, and what comes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sae.labels.endpoint.merge import merged
from sae.labels.endpoint.text_labels import TextLabel
from sae.labels.label_features import FeatureLabels
from sae.labels.predicate import CONTEXT
from tests.model_server import ModelServer
from tests.sae.label_endpoint_world import FEW, PREDICATES, Kept, Planted, endpoint, features, running, server
from tests.sae.planted_text import CONTEXT_FEATURES, TOKEN_FEATURES

__all__ = ["features", "running", "server"]


def test_labels_of_planted_features_are_right_and_permuted_ones_are_chance(
    features: Planted, server: ModelServer
) -> None:
    every = list(range(TOKEN_FEATURES + CONTEXT_FEATURES + 2))
    labels, record = features.label(endpoint(server, latents=every))
    text, planted_ones, noise = features.text, labels[:-2], labels[-2:]
    assert [one.text for one in planted_ones] == list(PREDICATES)
    assert [(one.status, one.text, one.detection) for one in noise] == [("obscure", None, None)] * 2
    for kind in ("detection", "fuzzing"):
        scores = [getattr(one, kind) for one in planted_ones]
        assert np.mean([one.own.both.value for one in scores]) >= 0.95
        assert np.mean([one.permuted.both.value for one in scores]) == pytest.approx(0.5, abs=0.05)
        assert all(one.unjudged == 0 and one.difference.body()["low"] > 0 for one in scores)
        for label, one in zip(planted_ones, scores, strict=True):
            tested = np.concatenate(one.examples)
            assert text.test[tested].all(), "examples are of the test half"
            assert text.explain[label.evidence].all()
            assert not set(text.document[tested]) & set(text.document[label.evidence])
    for one in planted_ones:
        assert one.detection is not None
        for at in np.concatenate([one.detection.examples.near, one.detection.examples.random]):
            start, stop = features.windows.span(int(at))
            assert not np.isin(np.arange(start, stop), features.active.of(one.feature)).any()
        assert one.permuted_feature != one.feature and one.explain is not None and one.explain.value >= 0.95
    shown = [question for question in server.questions() if "active" in question]
    assert len(shown) == len(every)
    assert record["questions"] == record["requests"] and not record["failed_requests"]
    _check_best(features, labels)


def _check_best(features: Planted, labels: list[TextLabel]) -> None:
    """A label in words is the best one only if it did better on explain examples than the best other label."""
    before = {one.feature: one for one in features.found}
    for one in merged(features.found, labels):
        asked = next((label for label in labels if label.feature == one.feature), None)
        others = before[one.feature].labels
        if asked is None or asked.text is None:
            assert one == before[one.feature]
            continue
        at = [label.label.method for label in one.labels].index("endpoint")
        assert [label for label in one.labels if label.label.method != "endpoint"] == others
        assert asked.explain is not None and asked.explain_best is not None
        assert at == (0 if asked.explain.value > asked.explain_best.value else len(others))
        assert one.labels[at].label.describe() == asked.text and one.type == before[one.feature].type


def test_features_are_drawn_among_those_that_are_active_in_both_halves(features: Planted, server: ModelServer) -> None:
    labels, _ = features.label(endpoint(server, latents=5, judged=8, batch=8))
    drawn = [one.feature for one in labels]
    assert len(set(drawn)) == 5 and drawn == sorted(drawn) and drawn != list(range(5))


@pytest.mark.parametrize(
    ("option", "value", "seen"),
    [
        ("temperature", 0.5, {"temperature": 0.5}),
        ("temperature", None, {}),
        ("answer_tokens", 77, {"max_tokens": 77}),
        ("token_limit", "max_completion_tokens", {"max_completion_tokens": 300}),
        ("response_format", "json_object", {"response_format": {"type": "json_object"}}),
    ],
)
def test_options_of_requests_reach_the_server(
    features: Planted, server: ModelServer, option: str, value: Any, seen: dict[str, Any]
) -> None:
    features.label(endpoint(server, **{**FEW, "latents": [0, 1], option: value}))
    names = ("temperature", "max_tokens", "max_completion_tokens", "response_format")
    default = {"temperature": 0.0, "max_tokens": 300}
    if option in ("temperature", "token_limit"):
        default.pop({"temperature": "temperature", "token_limit": "max_tokens"}[option])
    for body in server.asked:
        assert {name: body[name] for name in names if name in body} == {**default, **seen}


def test_options_of_examples_change_the_questions(features: Planted, server: ModelServer) -> None:
    def asked(**fields: Any) -> list[dict[str, Any]]:
        server.asked.clear()
        features.label(endpoint(server, **{**FEW, "latents": [0, 14], **fields}))
        return server.questions()

    plain = asked()
    shown = [one for one in plain if "active" in one]
    assert [len(one["active"]) for one in shown] == [16, 16]
    assert sorted(len(one["silent"]) for one in shown)[-1] == 4
    assert max(len(each["before"].split()) for one in shown for each in one["active"]) == CONTEXT
    strengths = [example["strength"] for example in shown[0]["active"]]
    assert strengths == sorted(strengths, reverse=True) and strengths[0] == 10
    fewer = [one for one in asked(shown=3, shown_near=1) if "active" in one]
    assert [(len(one["active"]), len(one["silent"]) <= 1) for one in fewer] == [(3, True)] * 2
    assert max(len(one["examples"]) for one in plain if "examples" in one) == 8
    small = [one for one in asked(judged=6, batch=3) if "examples" in one]
    assert max(len(one["examples"]) for one in small) == 3
    assert len(small) == 2 * 5 * 4
    schema = {**FEW, "latents": [0, 14], "response_format": "json_schema"}
    server.asked.clear()
    features.label(endpoint(server, **schema))
    names = {body["response_format"]["json_schema"]["name"] for body in server.asked}
    assert names == {"explanation", "judgement"}


def test_no_more_requests_at_once_than_asked_for(features: Planted, server: ModelServer) -> None:
    server.pause_s = 0.01
    features.label(endpoint(server, **FEW, runtime={"concurrency": 3}))
    assert server.most_at_once == 3


def test_tokens_and_cost_are_recorded(features: Planted, server: ModelServer) -> None:
    kept = Kept()
    prices = {"prompt": 3.0, "completion": 7.0}
    _, record = features.label(endpoint(server, **FEW, runtime={"prices": prices}), kept)
    read, made = (sum(getattr(one, name) for one in kept.values()) for name in ("prompt_tokens", "completion_tokens"))
    assert (record["prompt_tokens"], record["completion_tokens"]) == (read, made)
    assert record["cost"] == pytest.approx((3 * read + 7 * made) / 1e6) and record["prices_per_million"] == prices


def test_nothing_is_merged_without_a_control(features: Planted) -> None:
    one: FeatureLabels = features.found[0]
    assert merged([one], [TextLabel(0, "labelled", "words")]) == [one]
