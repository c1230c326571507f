"""Whose process is ended, and whose is left alone: real processes of this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from cluster.catalog import DISPATCHER, State, change_timer
from cluster.process_identity import process_identity
from jobs.life import reconcile
from tests.jobs.world import World


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any job, unless a row says so."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def _driven_by(world: World, host: str, pid: int, mark: str | None) -> str:
    """A job that a process drives, as its row says; gives its id."""
    job = world.ask().jobs[0]
    world.dispatcher.tick()
    world.catalog.claim(job, 1)
    world.set("attempts", job, host=host, pid=pid, process=mark)
    return job


def _lead_anew(world: World) -> None:
    world.catalog.release(DISPATCHER, "one")
    world.dispatcher = world.another("two", "session-2")
    world.dispatcher.tick()


def test_a_process_of_another_host_is_left_alone_until_it_has_been_silent(
    world: World, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of this machine has its number: it is none of the job's."""
    job = _driven_by(world, "elsewhere", process.pid, "another-boot:77")
    _lead_anew(world)
    assert process.poll() is None
    assert (world.catalog.job(job).state, world.catalog.job(job).attempt) == (State.RUNNING, 1)
    later = time.monotonic() + 1000
    monkeypatch.setattr(change_timer, "monotonic", lambda: later)
    world.dispatcher.tick()
    assert world.catalog.job(job).attempt == 2
    assert world.catalog.attempts(job)[0].code == "cluster_gone"
    assert process.poll() is None


def test_a_cancel_ends_no_process_of_this_host_for_one_of_another(
    world: World, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "CANCEL_S", -1.0)
    job = _driven_by(world, "elsewhere", process.pid, "another-boot:77")
    world.catalog.request_cancel(job)
    world.dispatcher.tick()
    assert process.poll() is None
    assert world.catalog.job(job).state == State.CANCELLING


def test_the_driver_of_a_cluster_that_is_gone_is_ended_though_the_host_was_renamed(
    world: World, process: subprocess.Popen[bytes]
) -> None:
    job = _driven_by(world, "as-it-was-called", process.pid, process_identity(process.pid))
    _lead_anew(world)
    assert process.poll() is not None
    assert world.catalog.job(job).attempt == 2


def test_a_number_that_another_process_has_now_is_left_alone(world: World, process: subprocess.Popen[bytes]) -> None:
    """The driver has ended, and its number was given to another process since."""
    mark = process_identity(process.pid)
    assert mark is not None
    job = _driven_by(world, "as-it-was-called", process.pid, f"{mark}0")
    _lead_anew(world)
    assert process.poll() is None
    assert world.catalog.job(job).attempt == 1  # its host must be silent first
