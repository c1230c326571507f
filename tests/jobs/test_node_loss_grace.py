"""A node that is away for a while: what fitted on it waits, what never fitted is told at once."""

from __future__ import annotations

import pytest

from cluster.catalog import DISPATCHER, State
from configs.requirements import Node
from jobs.life import admission
from tests.jobs.world import World

LARGE = Node(64, 0, 1 << 36, {}, 64, 0, 1 << 36)


def _with_inputs(world: World, *sets: str) -> str:
    """A tokenize job whose inputs are made; gives its id."""
    found = world.ask(*sets)
    for job in found.jobs[:-1]:
        world.dispatcher.tick()
        world.do(job)
    return found.job_id


def test_a_job_that_waited_for_a_node_waits_for_its_return(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the head was killed meanwhile, and `up` runs again: the first look of the next dispatcher sees it alone."""
    monkeypatch.setattr(admission, "REJOIN_S", 0.0)  # its row alone tells
    world.nodes = (LARGE._replace(free_cpus=0),)
    job = _with_inputs(world, "resources.cpus=50")
    world.dispatcher.tick()
    assert world.catalog.job(job).state == State.WAITING
    deadline = world.catalog.job(job).deadline
    assert deadline is not None
    world.nodes = ()
    world.dispatcher.tick()
    world.catalog.release(DISPATCHER, "one")
    after = world.another("two", "session-2")
    after.tick()
    row = world.catalog.job(job)
    assert (row.state, row.deadline) == (State.WAITING, deadline)
    assert "though it fitted before" in (row.message or "")
    world.nodes = (LARGE,)
    after.tick()
    assert f"{job}-a1" in world.starts.started
    assert world.catalog.attempts(job)[-1].cluster == "session-2"


def test_a_job_whose_inputs_are_made_meanwhile_has_fitted_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "REJOIN_S", 0.0)
    world.nodes = (LARGE,)
    found = world.ask("resources.cpus=50")
    world.dispatcher.tick()
    world.nodes = ()
    for job in found.jobs[:-1]:
        world.dispatcher.tick()
        world.do(job)
    world.dispatcher.tick()
    assert world.catalog.job(found.job_id).state == State.WAITING


def test_what_is_asked_for_while_nodes_may_rejoin_waits_for_them(world: World) -> None:
    """The capacity that stands beside the lease of the dispatcher before is what the cluster was."""
    world.nodes = (LARGE,)
    world.dispatcher.tick()
    after = world.another("two", "session-2")
    world.nodes = ()
    assert after.tick() == []  # the lease of the first holds
    world.set_lease_gone()
    waits, never = world.ask("resources.cpus=50"), world.ask("resources.cpus=65", "context_length=9")
    after.tick()
    assert world.catalog.job(never.job_id).code == "cannot_fit"  # the node that may rejoin would not help
    for job in waits.jobs[:-1]:
        world.do(job)
    after.tick()
    row = world.catalog.job(waits.job_id)
    assert (row.state, row.blocked and row.blocked["kind"]) == (State.WAITING, "resources")


def test_once_nodes_had_their_time_to_rejoin_it_is_told_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.nodes = (LARGE,)
    world.dispatcher.tick()
    world.nodes = ()
    world.dispatcher.tick()
    monkeypatch.setattr(admission, "REJOIN_S", 0.0)
    world.dispatcher.tick()
    found = world.ask("resources.cpus=50")
    world.dispatcher.tick()
    assert world.catalog.job(found.job_id).code == "cannot_fit"


def test_a_job_whose_node_is_gone_for_good_holds_nobody_back_and_ends_at_its_deadline(world: World) -> None:
    world.nodes = (LARGE,)
    gone = _with_inputs(world, "resources.cpus=50")
    world.dispatcher.tick()
    world.starts.broken[f"{gone}-a1"] = "its node went away"
    world.dispatcher.tick()
    world.set("jobs", gone, retry_at=1)
    world.nodes = ()
    behind = world.ask("context_length=9")
    world.dispatcher.tick()
    assert world.catalog.job(gone).state == State.WAITING
    assert f"{behind.job_id}-a1" in world.starts.started
    world.set("jobs", gone, deadline=1)
    world.dispatcher.tick()
    row = world.catalog.job(gone)
    assert (row.state, row.code) == (State.FAILED, "waited_too_long")
