"""The application under Ray Serve: streams over replicas that are killed, quick work beside it, its own guard."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from cluster.records import Records
from tests.serve_app.served import Served, served, wait_until
from tests.serve_app.world import DATASET, MODEL, World


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[Served]:
    with served(world) as running:
        yield running


def client(site: Served) -> httpx2.Client:
    return httpx2.Client(
        base_url=site.url, headers={"Authorization": f"Bearer {site.token}"}, timeout=60, trust_env=False
    )


def driven_job(site: Served, seed: int) -> tuple[str, int]:
    """A job that this process drives."""
    body = {"dataset": str(DATASET), "model": str(MODEL), "context_length": 32, "seed": seed}
    with client(site) as http:
        job = http.post("/v1/tokenizations", json=body).raise_for_status().json()["job"]["id"]
    row = site.records.job(job)
    site.records.grant(job, row.attempt, f"{job}-a1", "here")
    site.records.claim(job, row.attempt)
    return job, row.attempt


def test_the_same_answers_as_without_serve(site: Served) -> None:
    with client(site) as http, httpx2.Client(base_url=site.url, trust_env=False) as nobody:
        assert nobody.get("/v1/jobs").status_code == 401
        assert nobody.get("/v1/ready").json()["ready"] is True
        assert http.get("/v1/jobs", headers={"Host": "evil.example"}).status_code == 421
        assert http.get("/v1/jobs", headers={"Origin": "null"}).status_code == 403
        assert http.put("/v1/jobs").headers["allow"] == "GET, POST"
        assert http.get("/v1/nothing").json()["code"] == "not_found"
        assert http.post("/v1/jobs", content=b"x" * (2 << 20)).status_code == 413
        archive = http.get(f"/v1/saes/{site.world.sae.id}/archive")
        assert len(archive.content) == int(archive.headers["content-length"])
        assert nobody.get("/-/routes").json() == {"/": "api"}, "all that Serve's own paths say"
    for headers, status in (({}, 401), ({"Authorization": f"Bearer {site.token}", "Origin": "null"}, 403)):
        with pytest.raises(InvalidStatus) as refused:
            connect(site.url.replace("http", "ws") + "/v1/events/ws", additional_headers=headers, proxy=None)
        assert refused.value.response.status_code == status


def test_features_on_a_text_through_the_application_of_their_own(site: Served) -> None:
    with client(site) as http:
        request = {"sae": str(site.world.sae), "text": "The captain steers the grey boat.", "top": 3}
        found = http.post("/v1/feature-activations", json=request).raise_for_status().json()
        assert len(found["top"]) == 3
        assert found["tokens"][0]["role"] == "bos"
        held = {"sae": str(site.world.sae), "text": "x", "features": [4096]}
        assert http.post("/v1/feature-activations", json=held).json()["code"] == "invalid_request"


def test_who_holds_the_room_of_a_language_model_is_named(site: Served) -> None:
    with client(site) as http:
        body = {"dataset": str(DATASET), "model": str(MODEL), "context_length": 32, "seed": 900,
                "resources": {"memory": (4 << 30) - (256 << 20)}}  # fmt: skip
        job = http.post("/v1/tokenizations", json=body).raise_for_status().json()["job"]["id"]
        site.records.grant(job, 1, f"{job}-a1", "here")
        refused = http.post("/v1/feature-activations", json={"sae": str(site.world.sae), "text": "x"})
        assert (refused.status_code, refused.json()["code"]) == (503, "no_room")
        assert refused.json()["holders"] == [job]
        assert int(refused.headers["retry-after"]) > 0
        site.records.lose(job, 1, "test", "over")


class Follower:
    """Follows a stream as a browser does: it asks again after its last event, however often the connection breaks."""

    def __init__(self, site: Served, path: str) -> None:
        self._site, self._path = site, path
        self.ids: list[int] = []
        self.late: list[float] = []
        self.connections = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with client(self._site) as http:
            while True:
                try:
                    last = {"Last-Event-ID": str(self.ids[-1])} if self.ids else {}
                    with http.stream("GET", self._path, headers=last) as response:
                        self.connections += 1
                        if response.status_code == 204:
                            return
                        self._read(response)
                except httpx2.HTTPError:
                    time.sleep(0.2)

    def _read(self, response: httpx2.Response) -> None:
        data: dict[str, Any] = {}
        for line in response.iter_lines():
            if line.startswith("data: "):
                data = json.loads(line[6:])
            elif line.startswith("id: "):
                self.ids.append(int(line[4:]))
                if (data.get("message") or "").startswith("at "):
                    self.late.append(time.time() - float(data["message"][3:]))

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the stream did not end"


def say(records: Records, job: str, attempt: int, stop: threading.Event) -> int:
    """Writes events until it is told to stop; gives how many."""
    said = 0
    while not stop.is_set():
        records.progress(job, attempt, done=said, total=10_000, unit="rows", message=f"at {time.time()}")
        said += 1
        time.sleep(0.05)
    return said


def test_nothing_is_lost_when_replicas_are_killed(site: Served) -> None:
    job, attempt = driven_job(site, 901)
    followers = [Follower(site, f"/v1/jobs/{job}/events/stream") for _ in range(4)]
    stop, failures, answers = threading.Event(), [], []

    def load() -> None:
        with client(site) as http:
            while not stop.is_set():
                try:
                    answers.append(http.get("/v1/jobs", params={"limit": 5}).status_code)
                except httpx2.HTTPError as error:
                    failures.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(4)]
    threads += [threading.Thread(target=say, args=(site.records, job, attempt, stop))]
    for thread in threads:
        thread.start()
    took = []
    for _ in range(3):
        before = site.pids()
        time.sleep(1.5)
        os.kill(before[0], signal.SIGKILL)
        took.append(
            wait_until(lambda before=before: len(set(site.ready()) - {before[0]}) == 2, 60, "a replica in its place")
        )
    time.sleep(2)
    stop.set()
    for thread in threads:
        thread.join(60)
    site.records.finish(job, attempt, "CANCELLED")
    for follower in followers:
        follower.join(60)
        assert follower.ids == list(range(1, site.records.job(job).last_event + 1)), "each event once, in order"
    assert max(follower.connections for follower in followers) >= 2, "at least one was on a replica that died"
    wrong = [status for status in answers if status != 200]
    # A request that was on the replica when it died has no answer: of four clients that is four a kill at most.
    assert len(wrong) + len(failures) <= 3 * 4, (wrong, failures)
    assert len(answers) > 50
    print(f"back in {took} s; {len(answers)} answers, {len(wrong) + len(failures)} without")
