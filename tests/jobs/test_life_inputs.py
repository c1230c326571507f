"""What becomes of a job whose input does not come: the true reason, whatever is done to clocks meanwhile."""

from __future__ import annotations

import time

import pytest

from cluster.catalog import State
from jobs.life import input_tracker
from tests.jobs.world import World


@pytest.mark.parametrize("shift", [-7200.0, 7200.0])
def test_the_clock_may_be_set_while_an_input_fails(world: World, monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    monkeypatch.setattr(input_tracker, "GRACE_S", 0.0)  # what is not known to have failed would be missing
    found = world.ask()
    first, _, target = found.jobs
    world.dispatcher.tick()
    wall = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: wall() + shift)
        world.catalog.claim(first, 1)
        world.catalog.finish(first, 1, "FAILED", code="source_error", message="download: there is no such file")
    world.dispatcher.tick()
    row = world.catalog.job(target)
    assert (row.state, row.code, row.message) == (State.FAILED, "source_error", "download: there is no such file")


@pytest.mark.parametrize("shift", [-7200.0, 7200.0])
def test_a_failure_from_before_the_request_is_not_held_against_it(
    world: World, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    """Its inputs' rows are written after its own: until then the failed maker is the last that there was."""
    found = world.ask()
    first, _, target = found.jobs
    world.dispatcher.tick()
    world.catalog.claim(first, 1)
    world.catalog.finish(first, 1, "FAILED", code="source_error", message="download: there is no such file")
    world.dispatcher.tick()
    wall = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: wall() + shift)
        world.catalog.resume(target, "ada")
    world.dispatcher.tick()
    assert world.catalog.job(target).state == State.QUEUED


def test_each_attempt_has_its_own_time_for_its_inputs_to_be_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = world.ask()
    first, second, target = found.jobs
    for job in (first, second):
        world.set("jobs", job, state="SUCCEEDED")  # the artifacts are not there, and nobody makes them
    world.dispatcher.tick()
    assert world.catalog.job(target).state == State.QUEUED
    world.catalog.request_cancel(target)
    later = time.monotonic() + input_tracker.GRACE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    world.catalog.resume(target, "ada")
    world.dispatcher.tick()
    assert world.catalog.job(target).state == State.QUEUED
    monkeypatch.setattr(time, "monotonic", lambda: later + input_tracker.GRACE_S + 1)
    world.dispatcher.tick()
    assert world.catalog.job(target).code == "missing_input"
