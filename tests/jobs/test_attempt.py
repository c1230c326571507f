"""How an attempt ends when what records it, or what it runs in, does not work for a while or at all."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from cluster.catalog import DISPATCHER, Catalog, State, Submission, open_catalog
from cluster.store import Store
from configs.load import parse_config
from jobs import stages
from jobs.life.attempt import run_attempt
from jobs.life.driver_process import drive
from jobs.life.follow import Follower, request
from jobs.life.local_dispatcher import LocalDispatcher
from jobs.life.outcome import Outcome
from jobs.life.planner import Planner, Step
from jobs.life.session import Session
from jobs.life.stage_context import JobContext
from tests.jobs.command import Toy
from tests.jobs.toys import download

DRIVER = """
import json, sys
from cluster.catalog import open_catalog
open_catalog(sys.argv[1]).submit(**json.loads(sys.argv[2]))
print("submitted", flush=True)
sys.stdin.read()
"""


class World:
    """A catalog on SQLite that waits a fifth of a second for a lock, and one small job that needs no cluster."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(str(folder / "store"))
        self.catalog: Catalog = open_catalog(f"sqlite:///{folder}/home/catalog.db")
        raw = json.loads(Toy(folder).config.read_text())["dataset"]
        raw["source"]["path"] = str(folder / "text.txt")
        self.step: Step = Planner().step(parse_config("download", raw, "test"))

    def request(self) -> dict[str, Any]:
        return {
            "stage": "download",
            "fingerprint": self.step.fingerprint,
            "config": self.step.config.model_dump(mode="json"),
            "requirement": {},
            "outputs": [str(output.ref) for output in self.step.outputs],
            "inputs": {},
            "created_by": "ada",
            "profile": "local",
        }

    def submit(self, drive: bool = True) -> Submission:
        return self.catalog.submit(**self.request(), drive=drive)

    def run(self, job: Submission) -> Outcome:
        self.catalog.grant(job.job_id, job.attempt, None, "here")
        row = self.catalog.claim(job.job_id, job.attempt)
        with Session("local", store=self.store, catalog=self.catalog) as session:
            return run_attempt(session, row, to_log=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps the catalog from every other writer."""
        with open_catalog(str(self.catalog._engine.url)) as other, other._write() as session:
            session.execute(text("SELECT 1"))  # a transaction begins with its first statement
            yield

    def lock(self, seconds: float) -> threading.Thread:
        """The same for a while, from now on."""
        locked = threading.Event()

        def hold() -> None:
            with self.locked():
                locked.set()
                time.sleep(seconds)

        thread = threading.Thread(target=hold)
        thread.start()
        assert locked.wait(10)
        return thread


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(stages.LOADED, "download", download.STAGE)
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("cluster.catalog.sqlite.BUSY_MS", 200)
    world = World(tmp_path)
    yield world
    world.catalog.close()


def test_a_success_is_recorded_once_the_catalog_answers_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run, locks = download.run, []

    def run_and_lock(job: JobContext) -> None:
        run(job)
        locks.append(world.lock(1.0))

    monkeypatch.setitem(stages.LOADED, "download", replace(download.STAGE, run=run_and_lock))
    job = world.submit()
    assert world.run(job).state == "SUCCEEDED"
    locks[0].join()
    row = world.catalog.job(job.job_id)
    assert (row.state, row.attempt) == (State.SUCCEEDED, 1)


def test_a_command_outlives_a_catalog_that_does_not_answer_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit()
    with Session("local", store=world.store, catalog=world.catalog) as session:
        monkeypatch.setattr(session, "connect", lambda: None)
        dispatcher = LocalDispatcher(session, [job.job_id], [job.job_id])
        locked = world.lock(1.0)  # its first passes can grant nothing
        assert Follower(session, job.job_id, [job.job_id], dispatcher).run().state == "SUCCEEDED"
        locked.join()


def test_work_that_the_catalog_did_not_answer_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = download.run

    def run_locked(job: JobContext) -> None:
        with world.locked():
            run(job)

    monkeypatch.setitem(stages.LOADED, "download", replace(download.STAGE, run=run_locked))
    job = world.submit()
    ended = world.run(job)
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.retryable) == ("catalog_unreachable", True)
    row = world.catalog.job(job.job_id)
    assert (row.state, row.attempt, row.retries) == (State.QUEUED, 2, 1)


@pytest.mark.parametrize("fault", ["a bad store", "logs that cannot be made"])
def test_a_driver_that_cannot_begin_says_why(world: World, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    home = Path(world.catalog._engine.url.database or "").parent
    if fault == "a bad store":
        monkeypatch.setenv("RAYLENS_STORE", "ftp://nowhere")
        said = "'ftp://nowhere' is not a store"
    else:
        (home / "logs").write_text("a file where the folder should be")
        said = "File exists"
    job = world.submit(drive=False)
    world.catalog.lease(DISPATCHER, "one")
    world.catalog.grant(job.job_id, 1, "ray-job", "cluster")
    assert drive(job.job_id, 1).state == "FAILED"
    row = world.catalog.job(job.job_id)
    assert row.state == State.FAILED
    assert said in (row.message or "")


def test_a_command_whose_log_cannot_be_made_ends_its_row(world: World) -> None:
    (Path(world.catalog._engine.url.database or "").parent / "logs").write_text("")
    job = world.submit()
    assert world.run(job).state == "FAILED"
    assert "File exists" in (world.catalog.job(job.job_id).message or "")


def test_a_job_whose_process_dies_is_taken_over_at_once_whatever_the_clocks_say(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [sys.executable, "-c", DRIVER, str(world.catalog._engine.url), json.dumps(world.request())]
    driver = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert driver.stdin is not None
    assert driver.stdout is not None
    driver.stdout.readline()
    row = world.submit()
    assert not row.created
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)  # somebody sets the clock back
    with Session("local", store=world.store, catalog=world.catalog) as session:
        dispatcher = LocalDispatcher(session, [], [row.job_id])
        dispatcher.tick()
        assert world.catalog.job(row.job_id).attempt == 1
        driver.communicate()
        monkeypatch.setattr(session, "connect", lambda: None)
        dispatcher.tick()
        while world.catalog.job(row.job_id).live:
            dispatcher.wait(0.1)
            dispatcher.tick()
    attempts = world.catalog.attempts(row.job_id)
    assert [attempt.state for attempt in attempts] == [State.LOST, State.SUCCEEDED]


def test_a_cancel_ends_a_command_at_once_and_what_its_thread_still_does_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def run_late(job: JobContext) -> None:
        began.set()
        go_on.wait(30)
        try:
            download.run(job)
        finally:
            over.set()

    monkeypatch.setitem(stages.LOADED, "download", replace(download.STAGE, run=run_late))
    job = world.submit()
    left: list[None] = []
    with Session("local", store=world.store, catalog=world.catalog) as session:
        monkeypatch.setattr(session, "connect", lambda: None)
        monkeypatch.setattr(session, "leave", lambda: left.append(None))  # ends the workers
        dispatcher = LocalDispatcher(session, [job.job_id], [job.job_id])
        dispatcher.tick()
        assert began.wait(10)
        dispatcher.request_end(job.job_id, "cancel")
        assert left
        row = world.catalog.job(job.job_id)
        assert (row.state, row.code, row.resumable) == (State.CANCELLED, "cancelled", True)
        go_on.set()
        assert over.wait(10)
    assert world.catalog.job(job.job_id).state == State.CANCELLED
    assert world.store.manifest(world.step.outputs[0].ref) is None


def test_what_fails_because_its_attempt_was_abandoned_is_no_failure_of_the_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel takes the cluster away beneath the stage, which then raises before the row says CANCELLED."""
    abandoned = threading.Event()

    def run_without_a_cluster(job: JobContext) -> None:
        abandoned.set()
        raise AttributeError("the cluster was left")

    monkeypatch.setitem(stages.LOADED, "download", replace(download.STAGE, run=run_without_a_cluster))
    job = world.submit()
    world.catalog.grant(job.job_id, 1, None, "here")
    with Session("local", store=world.store, catalog=world.catalog) as session:
        outcome = run_attempt(session, world.catalog.claim(job.job_id, 1), abandoned=abandoned)
    assert outcome.state == "CANCELLED"
    assert world.catalog.job(job.job_id).state == State.RUNNING  # whoever abandoned it records its end


def test_a_command_records_how_to_go_on_elsewhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.run(world.submit()).state == "SUCCEEDED"
    with (
        open_catalog(str(world.catalog._engine.url).replace("catalog.db", "another.db")) as catalog,
        Session("auto", store=world.store, catalog=catalog) as session,
    ):
        monkeypatch.setattr(session, "connect", lambda: pytest.fail("what is done needs no cluster"))
        row = catalog.job(request(session, world.step.config).job_id)
    assert row.state == State.SUCCEEDED
    assert row.environment["env_vars"]["RAYLENS_STORE"] == world.store.url
    assert row.environment["working_dir"]
    assert row.profile == session.profile.name, "what `auto` came to"
