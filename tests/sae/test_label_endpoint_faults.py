"""Labels in words from a server with faults: busy, cut off, unreadable, refusing, away, or beyond the bounds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import ValidationError

from sae.labels.endpoint import client as client_module
from sae.labels.endpoint.errors import EndpointBudget, EndpointError, EndpointUnreachable
from tests.model_server import ModelServer
from tests.sae.label_endpoint_world import FEW, Kept, Planted, endpoint, features, knowing, running, server, summary

__all__ = ["features", "running", "server"]


def test_faults_of_the_server_are_survived_and_counted(features: Planted, server: ModelServer) -> None:
    undisturbed, _ = features.label(endpoint(server, **FEW))
    server.faults = [429, "not json", "cut", 503, "no choices", "text:no JSON at all", "slow", 500]
    labels, record = features.label(endpoint(server, **FEW, runtime={"timeout_s": 4}))
    same = [(one.feature, one.text, one.detection and one.detection.own) for one in labels]
    assert same == [(one.feature, one.text, one.detection and one.detection.own) for one in undisturbed]
    failed = record["failed_requests"]
    assert failed == {
        "connection": 1, "not_a_completion": 2, "status_429": 1, "status_500": 1, "status_503": 1, "timeout": 1,
    }  # fmt: skip
    assert record["requests"] == record["questions"] + sum(failed.values())


def test_what_a_busy_server_asks_to_wait_is_waited(features: Planted, server: ModelServer) -> None:
    server.retry_after = "1"
    server.faults = [429]
    slept: list[float] = []
    sleep = asyncio.sleep

    async def recorded(seconds: float, *more: Any) -> None:
        slept.append(seconds)
        await sleep(seconds, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module.asyncio, "sleep", recorded)
        features.label(endpoint(server, **FEW, runtime={"concurrency": 1}))
    assert max(slept) >= 0.9
    server.retry_after, server.faults = "7200", [503]
    with pytest.raises(EndpointUnreachable, match="asks to wait 7200 s: run the job again then"):
        features.label(endpoint(server, **FEW))


def test_answers_that_cannot_be_read_cost_a_feature_its_label_and_no_more(
    features: Planted, server: ModelServer
) -> None:
    hostile = json.dumps({"label": "x", "system": "obey"})
    server.rule = lambda question, system: hostile if "active" in question else knowing(question, system)
    labels, record = features.label(endpoint(server, **FEW))
    assert [one.status for one in labels] == ["unreadable"] * 3
    assert record["invalid_answers"] == 3 and record["requests"] == 6, "each is asked for once more"
    assert "Your last answer could not be read: expected" in server.asked[-1]["messages"][-1]["content"]
    server.rule = lambda question, system: knowing(question, system) if "active" in question else '{"active": [99]}'
    labels, record = features.label(endpoint(server, **FEW))
    assert [(one.status, one.detection) for one in labels] == [("labelled", None)] * 3
    assert record["invalid_answers"] > 3


def test_a_question_that_the_server_refuses_costs_no_more_than_itself(features: Planted, server: ModelServer) -> None:
    server.faults = ["", 400]
    labels, record = features.label(endpoint(server, **FEW, runtime={"concurrency": 1}))
    assert [one.status for one in labels] == ["labelled", "unreadable", "labelled"]
    assert (record["refused_questions"], record["failed_requests"]) == (1, {"status_400": 1})
    server.faults = [422] * 9
    with pytest.raises(EndpointError, match="answers 422 to a request for the model 'judge': busy"):
        features.label(endpoint(server, latents=6, judged=8, batch=8))


def test_a_server_that_stays_away_ends_the_job_and_the_next_asks_only_for_the_rest(
    features: Planted, server: ModelServer
) -> None:
    whole, first = features.label(endpoint(server, **FEW))
    wanted = first["questions"]
    server.asked.clear()
    kept = Kept()
    server.faults = [*[""] * 7, *[503] * 200]  # type: ignore[list-item]
    with pytest.raises(EndpointUnreachable, match=r"^the model server http://127.0.0.1:\d+/v1 answers 503: busy$"):
        features.label(endpoint(server, **FEW, runtime={"concurrency": 1, "attempts": 2}), kept)
    assert len(kept) == 7
    assert len(server.asked) == 7 + 2, (
        "nothing is asked of a server that stays away, by a question that waited for its turn"
    )
    server.faults.clear()
    server.asked.clear()
    labels, record = features.label(endpoint(server, **FEW), kept)
    assert summary(labels) == summary(whole)
    assert len(server.asked) == wanted - 7
    assert (record["questions"], record["requests"]) == (wanted, wanted)
    server.asked.clear()
    assert summary(features.label(endpoint(server, **FEW), kept)[0]) == summary(whole)
    assert not server.asked


def test_bounds_end_the_job_and_keep_what_was_answered(features: Planted, server: ModelServer) -> None:
    kept = Kept()
    few = {**FEW, "runtime": {"concurrency": 1, "max_requests": 40, "max_tokens": 3000}}
    with pytest.raises(EndpointBudget, match=r"endpoint\.runtime\.max_tokens is 3000: raise it and run the job again"):
        features.label(endpoint(server, **few), kept)
    used = sum(one.prompt_tokens + one.completion_tokens for one in kept.values())
    assert 0 < used <= 3000 and len(kept) == len(server.asked)
    server.asked.clear()
    server.faults = [*[503] * 9, ""] * 9  # repeated requests count, those of the first attempt too
    earlier = len(kept)
    many = {**FEW, "runtime": {"concurrency": 1, "max_requests": 40, "attempts": 20}}
    with pytest.raises(EndpointBudget, match="40 requests were made"):
        features.label(endpoint(server, **many), kept)
    assert len(server.asked) == 40 - earlier
    with pytest.raises(ValidationError, match=r"3 features take up to 33 requests, and runtime\.max_requests is 32"):
        endpoint(server, **FEW, runtime={"max_requests": 32})
