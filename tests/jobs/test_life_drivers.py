"""Ray's dashboard as it should not be: it accepts, and does not answer; or it has no agent yet."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster.catalog import JobRow
from jobs.life import ray_job_launcher


class Dashboard(ThreadingHTTPServer):
    """Tells its version, as a client wants to know first; says how a job stands once `answers` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = threading.Event()
        self.asked = 0
        self.refused = 0  # submissions
        self.submitted: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Dashboard

    def do_GET(self) -> None:
        if self.path.startswith("/api/jobs/"):
            self.server.asked += 1
            self.server.answers.wait(30)
            job = {"type": "SUBMISSION", "status": "FAILED", "entrypoint": "x", "message": "no space is left"}
            return self._say(job)
        return self._say({"ray_version": "2.60.0", "ray_commit": "", "version": "4", "session_name": "s"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.server.refused:
            self.server.refused += 1
            return self._answer(500, b"No available agent to submit job, please try again later.")
        self.server.submitted.append(body["submission_id"])
        return self._say({"job_id": body["submission_id"], "submission_id": body["submission_id"]})

    def _say(self, value: dict[str, str]) -> None:
        self._answer(200, json.dumps(value).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    server = Dashboard()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.answers.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_dashboard_that_does_not_answer_keeps_nobody_waiting(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_job_launcher, "CHECK_S", 0.3)
    found = ray_job_launcher.RayJobLauncher(f"http://127.0.0.1:{dashboard.server_port}", "session-1")
    began = time.monotonic()
    assert [found.failed("train-1-a1") for _ in range(100)] == [None] * 100
    assert time.monotonic() - began < 5  # not a hundred times CHECK_S
    while dashboard.asked < 2:  # the first question was given up, and is not known to have an answer
        assert time.monotonic() - began < 10
        assert found.failed("train-1-a1") is None
        time.sleep(0.05)
    dashboard.answers.set()
    while (why := found.failed("train-1-a1")) is None:
        assert time.monotonic() - began < 10
        time.sleep(0.05)
    assert why == "no space is left"


def test_a_head_that_has_no_agent_yet_is_asked_again(dashboard: Dashboard) -> None:
    """It has just started, and its agent comes a moment later: that costs the job no attempt."""
    launcher = ray_job_launcher.RayJobLauncher(f"http://127.0.0.1:{dashboard.server_port}", "session-1")
    environment = {"working_dir": "gcs://code.zip", "cluster": "session-1"}
    job = JobRow(
        id="train-1", attempt=2, stage="train", outputs=[], created_by="a", project="p", requirement={}, name=None,
        environment=environment,
    )  # fmt: skip
    launcher.start(job)
    deadline = time.monotonic() + 20
    while not dashboard.submitted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (dashboard.refused, dashboard.submitted) == (1, ["train-1-a2"])
