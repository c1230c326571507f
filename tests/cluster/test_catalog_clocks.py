"""Clocks that are set back or forward while jobs wait: no deadline passes early, none is forgotten."""

from __future__ import annotations

import time

import pytest

from cluster.catalog import Catalog, State
from cluster.catalog.boot_clock import Anchor
from tests.cluster.catalog_rows import pending, submit, why_dead
from tests.cluster.conftest import Clocks

JUMPS = pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
BLOCKED = {"kind": "resources"}


@JUMPS
def test_a_deadline_passes_when_its_time_has_passed(catalog: Catalog, clocks: Clocks, jump: float) -> None:
    long, short = submit(catalog, "a" * 16, drive=False), submit(catalog, "b" * 16, drive=False)
    late = time.time() + 100
    catalog.wait(long.job_id, 1, BLOCKED, "waits", late)
    catalog.wait(short.job_id, 1, BLOCKED, "waits", time.time() + 5)
    clocks.set(jump)
    catalog.wait(long.job_id, 1, BLOCKED, "waits on", late)
    assert [job.overdue for job in pending(catalog)] == [False, False]
    clocks.run(6)
    assert [job.overdue for job in pending(catalog)] == [False, True]
    clocks.run(100)
    assert [job.overdue for job in pending(catalog)] == [True, True]
    catalog.wait(long.job_id, 1, BLOCKED, "waits anew", time.time() + 50)
    catalog.wait(short.job_id, 1, BLOCKED, "waits anew", time.time() - 1)
    assert [job.overdue for job in pending(catalog)] == [False, True]


@JUMPS
def test_what_waits_for_inputs_and_then_for_its_turn_keeps_its_deadline(
    catalog: Catalog, clocks: Clocks, jump: float
) -> None:
    job = submit(catalog, drive=False)
    deadline = time.time() + 100
    catalog.wait(job.job_id, 1, {"kind": "inputs"}, "waits for inputs", deadline)
    clocks.set(jump)
    catalog.wait(job.job_id, 1, BLOCKED, "waits", deadline)
    assert catalog.job(job.job_id).state == State.WAITING
    clocks.run(99)
    assert not catalog.job(job.job_id).overdue
    clocks.run(2)
    assert catalog.job(job.job_id).overdue


@JUMPS
def test_a_retry_is_due_when_its_time_has_come(catalog: Catalog, clocks: Clocks, jump: float) -> None:
    for fingerprint, wait in (("a" * 16, 100.0), ("b" * 16, 5.0)):
        job = submit(catalog, fingerprint, drive=False)
        catalog.lose(job.job_id, 1, "node_gone", "gone", retry_at=time.time() + wait)
    clocks.set(jump)
    assert [job.due for job in pending(catalog)] == [False, False]
    clocks.run(6)
    assert [job.due for job in pending(catalog)] == [False, True]
    catalog.wait(pending(catalog)[0].id, 2, {"kind": "retry"}, "waits", time.time() + 500)
    assert not pending(catalog)[0].due
    clocks.run(100)
    assert pending(catalog)[0].due
    assert not pending(catalog)[0].overdue


@JUMPS
def test_a_driver_of_this_host_is_looked_at_and_no_clock_is_asked(
    catalog: Catalog, clocks: Clocks, jump: float
) -> None:
    job = submit(catalog)
    clocks.set(jump)
    clocks.run(10_000)
    assert why_dead(catalog, job.job_id) is None
    again = submit(catalog)
    assert (again.created, again.attempt) == (False, 1)


@JUMPS
def test_a_driver_of_another_host_is_watched_and_no_clock_is_asked(
    catalog: Catalog, clocks: Clocks, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        job = submit(catalog)
        catalog.progress(job.job_id, 1, state=State.RUNNING)
    clocks.set(jump)
    assert why_dead(catalog, job.job_id) is None, "nobody has watched it yet"
    clocks.run(800)
    catalog.progress(job.job_id, 1)  # it beats
    assert why_dead(catalog, job.job_id) is None
    clocks.run(800)
    assert why_dead(catalog, job.job_id) is None
    assert not submit(catalog).created
    clocks.run(200)
    assert why_dead(catalog, job.job_id) == "its host elsewhere has been silent for 1000 s"
    ((_, attempt),) = catalog.live()
    assert catalog.dead_driver(attempt) == "its host elsewhere has been silent for 1000 s"
    assert submit(catalog).attempt == 2


@JUMPS
def test_order_is_that_of_submission_whatever_the_clock_says(catalog: Catalog, clocks: Clocks, jump: float) -> None:
    first = submit(catalog, "a" * 16, drive=False)
    clocks.set(jump)
    second = submit(catalog, "b" * 16, drive=False)
    assert [job.id for job in pending(catalog)] == [first.job_id, second.job_id]
    assert [job.id for job in catalog.jobs()] == [second.job_id, first.job_id]
    assert [event.job_id for event in catalog.changes(0)] == [first.job_id, second.job_id]


def test_after_a_restart_of_the_machine_the_wall_clock_is_all_there_is(clocks: Clocks) -> None:
    now = time.time()
    assert Anchor("another boot", -500.0).now() == Anchor(None, -500.0).now() == now
    here = Anchor.here()
    assert here.now() == pytest.approx(now)
    assert here._replace(ahead=here.ahead - 500).now() == pytest.approx(now - 500)


def test_the_clock_of_a_boot_runs() -> None:
    before, now = Anchor.here(), time.time()
    assert before.boot == Anchor.here().boot
    assert now - 60 < before.now() < now + 60
