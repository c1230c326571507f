"""Clients of a running API: followers of streams, a driver that reports, and kills of replicas under load."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import Any, NamedTuple

import httpx2

from cluster.catalog import Catalog
from tests.serve_app.served import Served, wait_until

CLIENTS, MORE = 4, 10


def client(site: Served) -> httpx2.Client:
    return httpx2.Client(
        base_url=site.url, headers={"Authorization": f"Bearer {site.token}"}, timeout=150, trust_env=False
    )


def driven_job(site: Served, seed: int) -> tuple[str, int]:
    """A job that this process drives."""
    made = site.catalog.submit(
        stage="tokenize", fingerprint=f"{seed:016x}", config={}, requirement={}, outputs=[], inputs={}, created_by="tests"
    )  # fmt: skip
    return made.job_id, made.attempt


class Follower:
    """Follows a stream as a browser does: it connects again after its last event, however often the connection breaks."""

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


def report(catalog: Catalog, job: str, attempt: int, stop: threading.Event) -> int:
    """Writes events until `stop` is set; returns how many."""
    written = 0
    while not stop.is_set():
        catalog.progress(job, attempt, done=written, total=10_000, unit="rows", message=f"at {time.time()}")
        written += 1
        time.sleep(0.05)
    return written


class Killed(NamedTuple):
    """The result of killing replicas."""

    lost: int  # followers that missed an event or had one twice
    connections: int  # the most that one follower needed
    answers: int
    failures: list[str]  # requests without an answer, or with a wrong one
    back_s: list[float]  # from each kill until as many replicas were ready as before


def killed(site: Served, path: str, kills: int) -> Killed:
    """Kills replicas one after the other while four clients read a list, and four follow a job that reports all the time.

    Before each kill, and at the end, every client has had more answers and every follower more events.
    """
    replicas = len(site.ready())
    job, attempt = driven_job(site, 901)
    followers = [Follower(site, f"/v1/jobs/{job}/events/stream") for _ in range(CLIENTS)]
    stop = threading.Event()
    failures: list[str] = []
    answers: list[list[int]] = [[] for _ in range(CLIENTS)]

    def read(own: list[int]) -> None:
        with client(site) as http:
            while not stop.is_set():
                try:
                    own.append(http.get(path).status_code)
                except httpx2.HTTPError as error:
                    failures.append(repr(error))

    def all_go_on() -> None:
        before = [len(own) for own in answers], [len(follower.ids) for follower in followers]
        wait_until(
            lambda: all(len(own) >= n + MORE for own, n in zip(answers, before[0], strict=True))
            and all(len(follower.ids) >= n + MORE for follower, n in zip(followers, before[1], strict=True)),
            120, "more answers and events",
        )  # fmt: skip

    threads = [threading.Thread(target=read, args=(own,)) for own in answers]
    threads += [threading.Thread(target=report, args=(site.catalog, job, attempt, stop))]
    for thread in threads:
        thread.start()
    back = []
    try:
        for _ in range(kills):
            all_go_on()
            victim = site.pids()[0]
            os.kill(victim, signal.SIGKILL)
            back.append(
                wait_until(
                    lambda victim=victim: len(set(site.ready()) - {victim}) == replicas, 120, "a replica in its place"
                )
            )
        all_go_on()
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
        site.catalog.finish(job, attempt, "CANCELLED")
    for follower in followers:
        follower.join(60)
    whole = list(range(1, site.catalog.job(job).last_event + 1))
    statuses = [status for own in answers for status in own]
    failures += [str(status) for status in statuses if status != 200]
    return Killed(
        sum(follower.ids != whole for follower in followers), max(follower.connections for follower in followers),
        len(statuses), failures, back,
    )  # fmt: skip
