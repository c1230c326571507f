"""Streams: all events, once, in order, from any place on, as they happen, with progress in between."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.serve_app.conftest import Site
from tests.serve_app.test_jobs import tokenization


def running_job(site: Site, seed: int) -> tuple[str, int]:
    """A job that this process drives."""
    job = site.writer.post("/v1/tokens", json=tokenization(seed=seed)).json()["job"]["id"]
    row = site.catalog.job(job)
    site.catalog.grant(job, row.attempt, f"{job}-a1", "here")
    site.catalog.claim(job, row.attempt)
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
            site.catalog.progress(job, attempt, done=done, total=5, unit="rows", message=f"mark {done}")
            time.sleep(0.3)
        site.catalog.finish(job, attempt, "FAILED", code="bad", message="at /srv/secret/x it ended")

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
        site.catalog.progress(job, attempt, message=f"all {i}")
    thread.join(10)
    assert [event["seq"] for event in got] == [before + 1, before + 2, before + 3]
    resumed = events(site, f"/v1/events/stream?after={before + 1}")
    assert [int(next(resumed)["id"]), int(next(resumed)["id"])] == [before + 2, before + 3]
    resumed.close()
    site.catalog.finish(job, attempt, "CANCELLED")


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
        site.catalog.progress(job, attempt, done=1, total=2, unit="rows", message="hello")
        site.catalog.finish(job, attempt, "CANCELLED", message="enough")
        messages = [json.loads(text) for text in socket]  # ends if the server closes as it should
    told = [message["event"] for message in messages if message["type"] in ("state", "log")]
    assert [event["number"] for event in told] == list(range(2, told[-1]["number"] + 1))
    assert told[-1]["state"] == "CANCELLED"


def test_streams_that_were_left_are_not_kept(site: Site) -> None:
    event_poller = site.app.state.api.event_poller
    for _ in range(5):
        with site.reader.stream("GET", "/v1/events/stream") as response:
            next(response.iter_bytes())
    deadline = time.monotonic() + 10
    while event_poller.open and time.monotonic() < deadline:
        time.sleep(0.1)
    assert event_poller.open == 0


def _token(site: Site, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {site.tokens.create(name, ['read'])[1]}"}


def _read_all(socket: ClientConnection) -> None:
    while True:
        socket.recv(timeout=10)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams look at their tokens twice a second."""
    for module in ("streaming.events", "streaming.streams", "routes.logs"):
        monkeypatch.setattr(f"serve_app.{module}.KEEPALIVE_S", 0.5)


@pytest.mark.usefixtures("soon")
def test_a_stream_ends_with_its_token(site: Site) -> None:
    job, attempt = running_job(site, 210)
    headers = _token(site, "short-lived")
    ws = site.url.replace("http://", "ws://") + "/v1/events/ws"
    timer = threading.Timer(1.0, lambda: site.tokens.revoke("short-lived"))
    timer.start()
    with connect(ws, additional_headers=headers, proxy=None) as socket:
        for path in (f"/v1/jobs/{job}/events/stream", "/v1/events/stream", f"/v1/jobs/{job}/log/stream"):
            with site.anonymous.stream("GET", path, headers=headers, timeout=10) as response:
                if timer.is_alive():
                    assert response.status_code == 200
                response.read()  # ends, though the job lives
        with pytest.raises(ConnectionClosed) as closed:
            _read_all(socket)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "not_authenticated")
    site.catalog.finish(job, attempt, "CANCELLED")


def test_more_streams_than_there_is_room_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job, attempt = running_job(site, 211)
    monkeypatch.setattr(site.app.state.api.event_poller, "_limit", 1)
    url = site.url.replace("http://", "ws://")
    headers = {"Authorization": site.reader.headers["Authorization"]}
    with site.reader.stream("GET", "/v1/events/stream") as one:
        lines = one.iter_lines()  # kept: the stream would be closed with it
        next(lines)
        deadline = time.monotonic() + 10
        while not site.app.state.api.event_poller.open:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for path in ("/v1/events/stream", f"/v1/jobs/{job}/events/stream", f"/v1/jobs/{job}/log/stream"):
            full = site.reader.get(path)
            assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (
                503,
                "too_many_streams",
                "10",
            )
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{url}/v1/jobs/{job}/events/ws", additional_headers=headers, proxy=None)
        assert (refused.value.response.status_code, refused.value.response.headers["retry-after"]) == (503, "10")
    site.catalog.finish(job, attempt, "CANCELLED")


def test_a_websocket_of_no_job_is_not_opened(site: Site) -> None:
    url = site.url.replace("http://", "ws://") + "/v1/jobs/train-0123456789/events/ws"
    headers = {"Authorization": site.reader.headers["Authorization"]}
    with pytest.raises(InvalidStatus) as refused:
        connect(url, additional_headers=headers, proxy=None)
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["code"] == "not_found"


def test_there_is_no_stream_of_no_job(site: Site) -> None:
    missing = site.reader.get("/v1/jobs/train-0123456789/events/stream")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = site.reader.get("/v1/jobs/train-0123456789/events/stream", headers={"Last-Event-ID": "x"})
    assert wrong.status_code == 422
