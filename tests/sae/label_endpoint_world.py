"""A model server on loopback that knows the planted features, and features that it is asked about."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.label_endpoint import LabelEndpoint
from sae.labels.endpoint import client as client_module
from sae.labels.endpoint.asking import Answered, Asker
from sae.labels.endpoint.client import EndpointClient
from sae.labels.endpoint.key import label_key
from sae.labels.endpoint.text_labels import TextLabel, TextLabeller
from sae.labels.endpoint.windows import Windows
from sae.labels.label_features import Directions, find_labels, score_labels
from sae.labels.predicate import CONTEXT, Predicate
from tests.model_server import ModelServer, model_server
from tests.sae.planted_text import SETTINGS, planted, planted_predicates, word

PREDICATES = {f"Feature {number}: {one.describe()}": one for number, one in enumerate(planted_predicates())}


def holds(predicate: Predicate, words: list[str], at: int) -> bool:
    before = words[max(0, at - CONTEXT) : at]
    return (words[at],) in predicate.phrases and (not predicate.context or predicate.context[0] in before)


def knowing(question: dict[str, Any], system: str) -> str:
    """Labels a feature by the first planted predicate that holds at all active examples; judges by the named predicate."""
    if "active" in question:
        shown = [[*one["before"].casefold().split(), one["token"].strip().casefold()] for one in question["active"]]
        for label, predicate in PREDICATES.items():
            if all(holds(predicate, words, len(words) - 1) for words in shown):
                return json.dumps({"label": label})
        return '{"obscure": true}'
    predicate = PREDICATES[question["label"]]
    active = []
    for one in question["examples"]:
        if "text" in one:
            words = one["text"].casefold().split()
            hit = any(holds(predicate, words, at) for at in range(len(words)))
        else:
            words = [*one["before"].casefold().split(), one["token"].strip().casefold()]
            hit = holds(predicate, words, len(words) - 1)
        if hit:
            active.append(one["number"])
    return "```json\n" + json.dumps({"active": active}) + "\n```"


class Kept(dict[str, Answered]):
    """Answers in memory."""

    def all(self) -> dict[str, Answered]:
        return dict(self)

    def keep(self, name: str, answered: Answered) -> None:
        self[name] = answered


class Planted:
    """The planted features with their other labels."""

    def __init__(self) -> None:
        self.text, self.active = planted()
        n = self.active.features
        nothing = Directions([[] for _ in range(n)], [[] for _ in range(n)], [[] for _ in range(n)])
        labels = find_labels(self.text, self.active, nothing, SETTINGS)
        self.found = list(score_labels(self.text, self.active, labels, SETTINGS))
        self.windows = Windows(self.text, lambda ids: [word(token) for token in ids], CONTEXT)

    def label(self, endpoint: LabelEndpoint, kept: Kept | None = None) -> tuple[list[TextLabel], dict[str, Any]]:
        """Asks the server for labels; these, and the record of the requests."""
        labeller = TextLabeller(self.text, self.active, self.windows, self.found, SETTINGS, endpoint)

        async def ask() -> tuple[list[TextLabel], dict[str, Any]]:
            async with EndpointClient(endpoint, label_key()) as client:
                asker = Asker(endpoint, client, Kept() if kept is None else kept)
                try:
                    return await labeller.label(asker), asker.record()
                finally:
                    await asker.close()

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def features() -> Planted:
    return Planted()


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with model_server(knowing) as server:
        yield server


@pytest.fixture
def server(running: ModelServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModelServer:
    """The server as new; pauses between attempts take no time."""
    url, running.over = running.url, True
    while running.at_once:  # requests that the last test gave up
        time.sleep(0.01)
    running.__init__(knowing)  # type: ignore[misc]
    running.url = url
    monkeypatch.setattr(client_module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    monkeypatch.delenv("RAYLENS_LABEL_KEY", raising=False)
    return running


def endpoint(server: ModelServer, **fields: Any) -> LabelEndpoint:
    runtime = {"timeout_s": 20, "max_requests": 5000, **fields.pop("runtime", {})}
    return LabelEndpoint.model_validate({"url": server.url, "model": "judge", "runtime": runtime, **fields})


FEW = {"latents": [0, 1, 14], "judged": 8, "batch": 8}


def summary(labels: list[TextLabel]) -> list[tuple[Any, ...]]:
    return [
        (
            one.feature,
            one.status,
            one.text,
            one.hash,
            one.detection and one.detection.own,
            one.fuzzing and one.fuzzing.own,
        )
        for one in labels
    ]
