"""Labels in words for a label task: asked of its model server, with what earlier attempts asked already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from actors.kept_answers import StoredAnswers
from actors.label_source import LabelSource
from configs.label_endpoint import LabelEndpoint
from sae.labels.activations import Activations
from sae.labels.endpoint.asking import Answered, Asker, KeptAnswers
from sae.labels.endpoint.client import EndpointClient
from sae.labels.endpoint.key import label_key
from sae.labels.endpoint.text_labels import TextLabel, TextLabeller
from sae.labels.endpoint.windows import Windows
from sae.labels.label_features import FeatureLabels
from sae.labels.text import LabelText

_LOOK_S = 0.5  # between looks at whether a stop was requested


class EndpointLabels(NamedTuple):
    """Labels, all answers by the hash of their questions, and the record of the requests."""

    labels: list[TextLabel]
    answers: dict[str, Answered]
    record: dict[str, Any]


def endpoint_labels(
    source: LabelSource,
    text: LabelText,
    active: Activations,
    found: Sequence[FeatureLabels],
    kept: KeptAnswers,
    goes_on: Callable[[int], bool],
) -> EndpointLabels | None:
    """Asks the task's model server. `goes_on(answers)` reports, and says whether no stop was requested; None if one was.

    Raises EndpointError, EndpointUnreachable, EndpointBudget.
    """
    endpoint = source.task.endpoint
    assert endpoint is not None
    windows = Windows(text, source.token_text.strings, endpoint.window)
    labeller = TextLabeller(text, active, windows, found, source.task.settings, endpoint)
    return asyncio.run(_asked(labeller, endpoint, kept, goes_on))


def answers_of(source: LabelSource, attempt: int, scratch: Path) -> StoredAnswers:
    """Where the answers for a task are kept."""
    return StoredAnswers(source.store, source.task.output, attempt, scratch, Lock())


async def _asked(
    labeller: TextLabeller, endpoint: LabelEndpoint, kept: KeptAnswers, goes_on: Callable[[int], bool]
) -> EndpointLabels | None:
    async with EndpointClient(endpoint, label_key()) as client:
        asker = Asker(endpoint, client, kept)
        work = asyncio.ensure_future(labeller.label(asker))
        try:
            while not work.done():
                if not goes_on(asker.done):
                    return None
                await asyncio.wait([work], timeout=_LOOK_S)
            labels = work.result()
        finally:
            work.cancel()
            await asker.close()
        return EndpointLabels(labels, asker.answers(), {"url": endpoint.url, "model": endpoint.model, **asker.record()})
