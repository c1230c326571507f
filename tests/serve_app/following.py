"""Clients of a running API: streams that are followed, a driver that says something, replicas that are killed under load."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import Any, NamedTuple

import httpx2

from cluster.records import Records
from tests.serve_app.served import Served, wait_until
from tests.serve_app.world import DATASET, MODEL

CLIENTS = 4


def client(site: Served) -> httpx2.Client:
    return httpx2.Client(
        base_url=site.url, headers={"Authorization": f"Bearer {site.token}"}, timeout=60, trust_env=False
    )


def driven_job(site: Served, seed: int) -> tuple[str, int]:
    """A job that this process drives."""
    body = {"dataset": str(DATASET), "model": str(MODEL), "context_length": 32, "seed": seed}
    with client(site) as http:
        job = http.post("/v1/tokens", json=body).raise_for_status().json()["job"]["id"]
    row = site.records.job(job)
    site.records.grant(job, row.attempt, f"{job}-a1", "here")
    site.records.claim(job, row.attempt)
    return job, row.attempt


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


class Killed(NamedTuple):
    """What came of replicas that were killed."""

    lost: int  # followers that missed an event or had one twice
    connections: int  # the most that one follower needed
    answers: int
    failures: list[str]  # requests without an answer, or with a wrong one
    back_s: list[float]  # from each kill until as many replicas were ready as before


def killed(site: Served, path: str, kills: int, pause_s: float = 1.5) -> Killed:
    """Kills replicas while four clients ask for a list, and four follow a job that says something all the time."""
    replicas = len(site.ready())
    job, attempt = driven_job(site, 901)
    followers = [Follower(site, f"/v1/jobs/{job}/events/stream") for _ in range(CLIENTS)]
    stop = threading.Event()
    failures: list[str] = []
    answers: list[int] = []

    def load() -> None:
        with client(site) as http:
            while not stop.is_set():
                try:
                    answers.append(http.get(path).status_code)
                except httpx2.HTTPError as error:
                    failures.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(CLIENTS)]
    threads += [threading.Thread(target=say, args=(site.records, job, attempt, stop))]
    for thread in threads:
        thread.start()
    back = []
    for _ in range(kills):
        victim = site.pids()[0]
        time.sleep(pause_s)
        os.kill(victim, signal.SIGKILL)
        back.append(
            wait_until(
                lambda victim=victim: len(set(site.ready()) - {victim}) == replicas, 60, "a replica in its place"
            )
        )
    time.sleep(pause_s)
    stop.set()
    for thread in threads:
        thread.join(60)
    site.records.finish(job, attempt, "CANCELLED")
    for follower in followers:
        follower.join(60)
    whole = list(range(1, site.records.job(job).last_event + 1))
    failures += [str(status) for status in answers if status != 200]
    return Killed(
        sum(follower.ids != whole for follower in followers), max(follower.connections for follower in followers),
        len(answers), failures, back,
    )  # fmt: skip
