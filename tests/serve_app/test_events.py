"""Streams: all events, once, in order, from any place on, as they happen, with progress in between."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.serve_app.conftest import Site
from tests.serve_app.test_jobs import tokenization


def running_job(site: Site, seed: int) -> tuple[str, int]:
    """A job that this process drives."""
    job = site.writer.post("/v1/tokenizations", json=tokenization(seed=seed)).json()["job"]["id"]
    row = site.records.job(job)
    site.records.grant(job, row.attempt, f"{job}-a1", "here")
    site.records.claim(job, row.attempt)
    return job, row.attempt


def events(site: Site, path: str, **headers: str) -> Iterator[dict[str, Any]]:
    """The events of a stream, each as {"name", "id", "data"}."""
    with site.reader.stream("GET", path, headers=headers) as response:
        response.raise_for_status()
        assert response.headers["content-type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        for line in response.iter_lines():
            if not line:
                if "data" in event:
                    yield event
                event = {}
            elif not line.startswith(":"):
                field, _, value = line.partition(": ")
                event[field] = json.loads(value) if field == "data" else value


def test_a_stream_ends_with_its_job_and_can_be_resumed(site: Site) -> None:
    job, attempt = running_job(site, 200)

    def drive() -> None:
        for done in range(1, 6):
            site.records.progress(job, attempt, done=done, total=5, unit="rows", message=f"mark {done}")
            time.sleep(0.3)
        site.records.finish(job, attempt, "FAILED", code="bad", message="at /srv/secret/x it ended")

    threading.Thread(target=drive).start()
    seen = list(events(site, f"/v1/jobs/{job}/events/stream"))
    told = [event for event in seen if event["event"] != "progress"]
    assert [int(event["id"]) for event in told] == list(range(1, len(told) + 1))
    assert [event["data"]["message"] for event in told if event["event"] == "log"][-5:] == [
        f"mark {i}" for i in range(1, 6)
    ]
    assert told[-1]["data"]["state"] == "FAILED"
    assert told[-1]["data"]["message"] == "at …/x it ended"
    progress = [event["data"]["progress"]["done"] for event in seen if event["event"] == "progress"]
    assert 1 <= len(progress) <= 3, "at most once a second"
    assert all("id" not in event for event in seen if event["event"] == "progress")
    rest = list(events(site, f"/v1/jobs/{job}/events/stream", **{"Last-Event-ID": "4"}))
    assert [event["id"] for event in rest] == [event["id"] for event in told[4:]]
    assert [e["id"] for e in events(site, f"/v1/jobs/{job}/events/stream?after=5")] == [e["id"] for e in told[5:]]
    last = site.reader.get(f"/v1/jobs/{job}/events/stream", headers={"Last-Event-ID": told[-1]["id"]})
    assert last.status_code == 204, "a browser asks no more"
    page = site.reader.get(f"/v1/jobs/{job}/events", params={"after": 2, "limit": 2}).json()
    assert [event["number"] for event in page] == [3, 4]


def test_the_stream_of_all_jobs_begins_now_or_where_it_is_told(site: Site) -> None:
    job, attempt = running_job(site, 201)
    before = site.reader.get("/v1/events", params={"limit": 1000}).json()[-1]["seq"]
    got: list[dict[str, Any]] = []
    opened = threading.Event()

    def listen() -> None:
        with site.reader.stream("GET", "/v1/events/stream") as response:
            for line in response.iter_lines():
                opened.set()
                if line.startswith("id: "):
                    got.append({"seq": int(line[4:])})
                if len(got) >= 3:
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    assert opened.wait(10)
    time.sleep(0.3)
    for i in range(3):
        site.records.progress(job, attempt, message=f"all {i}")
    thread.join(10)
    assert [event["seq"] for event in got] == [before + 1, before + 2, before + 3]
    resumed = events(site, f"/v1/events/stream?after={before + 1}")
    assert [int(next(resumed)["id"]), int(next(resumed)["id"])] == [before + 2, before + 3]
    resumed.close()
    site.records.finish(job, attempt, "CANCELLED")


@pytest.mark.parametrize("by", ["header", "protocol"])
def test_a_websocket_has_the_same(site: Site, by: str) -> None:
    job, attempt = running_job(site, 202 if by == "header" else 203)
    token = site.reader.headers["Authorization"].removeprefix("Bearer ")
    url = site.url.replace("http://", "ws://")
    options: dict[str, Any] = (
        {"additional_headers": {"Authorization": f"Bearer {token}"}}
        if by == "header"
        else {"subprotocols": ["raylens", f"bearer.{token}"]}
    )
    with connect(f"{url}/v1/jobs/{job}/events/ws?after=1", proxy=None, **options) as socket:
        assert socket.subprotocol == (None if by == "header" else "raylens"), "the token is not echoed"
        site.records.progress(job, attempt, done=1, total=2, unit="rows", message="hello")
        site.records.finish(job, attempt, "CANCELLED", message="enough")
        messages = [json.loads(text) for text in socket]  # ends if the server closes as it should
    told = [message["event"] for message in messages if message["type"] in ("state", "log")]
    assert [event["number"] for event in told] == list(range(2, told[-1]["number"] + 1))
    assert told[-1]["state"] == "CANCELLED"


def test_streams_that_were_left_are_not_kept(site: Site) -> None:
    pulse = site.app.state.api.pulse
    for _ in range(5):
        with site.reader.stream("GET", "/v1/events/stream") as response:
            next(response.iter_bytes())
    deadline = time.monotonic() + 10
    while pulse.open and time.monotonic() < deadline:
        time.sleep(0.1)
    assert pulse.open == 0


def test_there_is_no_stream_of_no_job(site: Site) -> None:
    missing = site.reader.get("/v1/jobs/train-0123456789/events/stream")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = site.reader.get("/v1/jobs/train-0123456789/events/stream", headers={"Last-Event-ID": "x"})
    assert wrong.status_code == 422
