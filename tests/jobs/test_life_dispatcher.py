"""What the dispatcher makes of rows: real rows and a real store; only the start of drivers is written down instead."""

from __future__ import annotations

import _thread
import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.catalog import DISPATCHER, IllegalMove, State
from configs.load import parse_config
from configs.requirements import NodeType
from jobs.life import input_tracker
from jobs.life.control import request_end, resume
from jobs.life.driver_setup import StopFlag
from jobs.life.follow import Follower, RemoteDispatcher
from jobs.life.planner import MissingInput
from jobs.life.session import Session
from jobs.life.submit import submit
from tests.jobs.world import World


def test_inputs_first_then_the_job_and_nothing_is_asked_for_twice(world: World) -> None:
    found = world.ask()
    *downloads, target = found.jobs
    assert len(downloads) == 2
    assert [world.catalog.job(job).parent for job in downloads] == [target, target]
    again = world.ask()
    assert (again.job_id, again.created, again.jobs) == (found.job_id, False, found.jobs)
    world.dispatcher.tick()
    assert world.starts.started == [f"{job}-a1" for job in downloads]
    row = world.catalog.job(target)
    assert row.state == State.QUEUED
    assert row.blocked is not None
    assert set(row.blocked["blocked_by"]) == set(downloads)
    for job in downloads:
        world.do(job)
    world.dispatcher.tick()
    assert world.starts.started[2:] == [f"{target}-a1"]
    world.do(target)
    world.dispatcher.tick()
    assert world.states(found) == ["SUCCEEDED"] * 3
    done = world.ask()
    assert (done.job_id, done.state, done.jobs) == (target, "SUCCEEDED", [])
    assert len(world.starts.started) == 3


def test_the_profile_that_was_chosen_is_recorded(world: World) -> None:
    world.dispatcher.tick()  # which says what the nodes offer
    assert world.catalog.job(world.ask(profile="auto").job_id).profile == "local"


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_nobody_waits_for_ever_or_less_than_nothing(world: World, seconds: float) -> None:
    with pytest.raises(ValueError, match="a job cannot wait"):
        world.ask(wait_s=seconds)
    assert world.catalog.jobs() == []


def test_what_a_resumed_job_waited_for_goes_on_too_whoever_asked_for_it(world: World) -> None:
    config = world.toy.folder / "dataset.yaml"
    config.write_text(json.dumps(json.loads(world.toy.config.read_text())["dataset"]))
    whole = world.ask()
    part = world.ask(stage="download", config=config)
    world.dispatcher.tick()
    world.catalog.claim(part.job_id, 1)
    world.catalog.finish(part.job_id, 1, "FAILED", code="source_error", message="download: no such file")
    world.dispatcher.tick()
    assert world.catalog.job(whole.job_id).state == State.FAILED
    resume(world.catalog, whole.job_id, "ada")
    assert (world.catalog.job(part.job_id).state, world.catalog.job(part.job_id).attempt) == (State.QUEUED, 2)


def test_a_hundred_equal_requests_at_once_are_one_job(world: World) -> None:
    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda _: world.ask(), range(100)))
    assert len({(answer.job_id, tuple(answer.artifacts)) for answer in answers}) == 1
    assert [answer.created for answer in answers].count(True) == 1
    assert len(world.catalog.jobs(limit=1000)) == 3


def test_an_input_that_fails_takes_with_it_what_waits_for_it(world: World) -> None:
    found = world.ask()
    first, second, target = found.jobs
    world.dispatcher.tick()
    row = world.catalog.claim(first, 1)
    world.catalog.finish(row.id, 1, "FAILED", code="source_error", message="download: there is no such file")
    world.dispatcher.tick()
    ended = world.catalog.job(target)
    assert (ended.state, ended.code, ended.message) == (State.FAILED, "source_error", "download: there is no such file")
    world.do(second)
    again = world.ask()  # both are tried again, and the end of the first time is not taken for this one's
    assert again.job_id == target
    world.dispatcher.tick()
    assert world.catalog.job(target).state == State.QUEUED
    world.do(first)
    world.dispatcher.tick()
    world.do(target)
    assert world.catalog.job(target).state == State.SUCCEEDED


def test_what_waited_for_a_failed_job_alone_goes_too(world: World) -> None:
    world.free = 0
    found = world.ask()
    *downloads, target = found.jobs
    world.dispatcher.tick()
    row = world.catalog.job(downloads[0])
    assert row.state == State.WAITING
    world.catalog.request_cancel(downloads[0])
    world.dispatcher.tick()
    assert world.states(found) == ["CANCELLED"] * 3
    assert world.catalog.job(target).code == "input_cancelled"
    resumed = resume(world.catalog, target, "ada")
    assert (resumed.state, resumed.attempt) == (State.QUEUED, 2)
    world.free = 4
    world.dispatcher.tick()
    assert world.starts.started == [f"{job}-a2" for job in downloads]


def test_an_input_that_another_live_job_needs_outlives_a_cancel(world: World) -> None:
    one, two = world.ask(), world.ask("context_length=9")
    assert set(one.jobs[:-1]) == set(two.jobs[:-1])
    request_end(world.catalog, one.job_id, "cancel")
    assert world.catalog.job(one.job_id).state == State.CANCELLED
    assert world.states(two) == ["QUEUED"] * 3
    request_end(world.catalog, two.job_id, "cancel")
    # They were recorded on behalf of the first: they stay, and are made once their turn comes.
    assert world.catalog.job(two.job_id).state == State.CANCELLED


def test_an_input_that_somebody_asked_for_by_name_outlives_a_cancel_of_what_it_was_made_for(world: World) -> None:
    config = world.toy.folder / "dataset.yaml"
    config.write_text(json.dumps(json.loads(world.toy.config.read_text())["dataset"]))
    whole = world.ask()
    part = world.ask(stage="download", config=config)
    assert part.job_id in whole.jobs
    world.dispatcher.tick()
    request_end(world.catalog, whole.job_id, "cancel")
    states = {job: world.catalog.job(job).state for job in whole.jobs}
    assert states.pop(part.job_id) == State.QUEUED
    assert set(states.values()) == {State.CANCELLED, State.CANCELLING}


def test_a_cancel_after_a_stop_reaches_what_works_below(world: World) -> None:
    found = world.ask()
    first, second, target = found.jobs
    world.dispatcher.tick()
    world.catalog.claim(first, 1)  # this process drives it
    world.catalog.request_cancel(second)
    assert request_end(world.catalog, target, "stop").state == State.CANCELLED
    assert world.catalog.job(first).cancel == "stop"
    assert request_end(world.catalog, target, "cancel").state == State.CANCELLED
    assert world.catalog.job(first).cancel == "cancel"
    world.catalog.finish(first, 1, "CANCELLED")
    world.starts.broken[f"{second}-a1"] = "stopped"
    world.dispatcher.tick()
    with pytest.raises(IllegalMove, match="nothing to cancel"):
        request_end(world.catalog, target, "cancel")


@pytest.fixture
def interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, whatever a library that ran in this process has put in its place."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.timeout(60)
def test_a_command_that_is_interrupted_twice_ends_after_what_works_for_it(world: World) -> None:
    found = world.ask()
    first, second, target = found.jobs
    world.dispatcher.tick()
    for job in (first, second):
        world.catalog.claim(job, 1)
    seen: list[tuple[str, str | None]] = []

    def interrupt_and_obey() -> None:
        while world.catalog.job(first).cancel != "stop":
            time.sleep(0.05)
        _thread.interrupt_main()
        while world.catalog.job(first).cancel != "cancel":
            time.sleep(0.05)
        time.sleep(0.6)  # more than one look of the command
        seen.append((str(world.catalog.job(target).state), world.catalog.job(first).cancel))
        for job in (first, second):
            world.catalog.finish(job, 1, "CANCELLED")

    stop = StopFlag()
    stop.set()
    obeying = threading.Thread(target=interrupt_and_obey)
    with Session("local", stop=stop, store=world.store, catalog=world.catalog) as session:
        obeying.start()
        ended = Follower(session, target, found.jobs, RemoteDispatcher(session)).run()
    assert world.states(found) == ["CANCELLED"] * 3
    obeying.join()
    assert (ended.state, seen) == ("CANCELLED", [("CANCELLED", "cancel")])


def test_a_pipeline_is_a_row_that_ends_with_its_stages(world: World) -> None:
    config = world.toy.folder / "pipeline.yaml"
    config.write_text(json.dumps({"stage": "pipeline", "stages": [str(world.toy.config)]}))
    found = world.ask(stage="pipeline", config=config)
    *_, tokenize, pipeline = found.jobs
    world.dispatcher.tick()
    row = world.catalog.job(pipeline)
    assert (row.state, row.done, row.total) == (State.RUNNING, 0, 1)
    assert world.catalog.attempts(pipeline)[-1].pid is None
    for job in (*found.jobs[:2], tokenize):
        world.dispatcher.tick()
        world.do(job)
    world.dispatcher.tick()
    row = world.catalog.job(pipeline)
    assert (row.state, row.done) == (State.SUCCEEDED, 1)
    assert not any(name.startswith("pipeline") for name in world.starts.started)


def test_a_pipeline_that_is_cancelled_ends_after_its_stages(world: World) -> None:
    config = world.toy.folder / "pipeline.yaml"
    config.write_text(json.dumps({"stage": "pipeline", "stages": [str(world.toy.config)]}))
    found = world.ask(stage="pipeline", config=config)
    world.dispatcher.tick()
    first = found.jobs[0]
    world.catalog.claim(first, 1)  # this process drives it
    assert request_end(world.catalog, found.job_id, "cancel").state == State.CANCELLING
    world.dispatcher.tick()
    assert world.catalog.job(found.job_id).state == State.CANCELLING
    assert world.catalog.job(first).state == State.CANCELLING
    assert f"{found.jobs[1]}-a1" in world.starts.broken  # the other's driver was on its way yet
    world.catalog.finish(first, 1, "CANCELLED", code="cancelled")
    world.dispatcher.tick()
    world.dispatcher.tick()
    assert world.states(found) == ["CANCELLED"] * 4


def test_a_driver_that_never_starts_is_tried_again_and_then_told(world: World) -> None:
    found = world.ask()
    job = found.jobs[0]
    for attempt in range(1, 4):
        world.dispatcher.tick()
        assert f"{job}-a{attempt}" in world.starts.started
        world.starts.broken[f"{job}-a{attempt}"] = "no space left for its upload"
        world.dispatcher.tick()
        row = world.catalog.job(job)
        if attempt < 3:
            assert (row.state, row.attempt, row.retries) == (State.QUEUED, attempt + 1, attempt)
            assert row.retry_at is not None
            assert row.retry_at > time.time()
            world.dispatcher.tick()  # not before its time
            assert f"{job}-a{attempt + 1}" not in world.starts.started
            world.set("jobs", job, retry_at=1)
    assert (row.state, row.code) == (State.LOST, "driver_never_started")
    assert "no space left" in (row.message or "")


def test_grants_of_a_cluster_that_is_gone_go_on_on_the_next(world: World) -> None:
    found = world.ask()
    world.dispatcher.tick()
    world.catalog.release(DISPATCHER, "one")
    after = world.another("two", "session-2")
    after.tick()
    for job in found.jobs[:2]:
        row = world.catalog.job(job)
        assert (row.state, row.attempt) == (State.QUEUED, 2)
        assert world.catalog.attempts(job)[0].code == "cluster_gone"
    with pytest.raises(Exception, match="no longer holds it"):
        world.catalog.claim(found.jobs[0], 1)  # the driver of the first, if it comes after all


def test_one_dispatcher_leads(world: World) -> None:
    world.ask()
    other = world.another("two", "session-1")
    assert len(world.dispatcher.tick()) == 3
    assert other.tick() == []
    world.catalog.release(DISPATCHER, "one")
    assert len(other.tick()) == 3
    assert len(world.starts.started) == 2


def test_a_row_that_cannot_be_started_does_not_hold_back_the_others(world: World) -> None:
    bad = world.catalog.submit(
        stage="report", fingerprint="b" * 16, config={"of": "another version"}, requirement={}, outputs=["reports/" + "b" * 16],
        inputs={}, created_by="ada", drive=False,
    )  # fmt: skip
    found = world.ask()
    world.dispatcher.tick()
    row = world.catalog.job(bad.job_id)
    assert (row.state, row.code) == (State.FAILED, "config_error")
    assert world.starts.started == [f"{job}-a1" for job in found.jobs[:2]]


def test_what_can_never_fit_is_told_before_its_inputs_are_made(world: World) -> None:
    """And they go with it, but for one that another live job needs."""
    found = world.ask("resources.cpus=50")
    world.dispatcher.tick()
    row = world.catalog.job(found.job_id)
    assert (row.state, row.code) == (State.FAILED, "cannot_fit")
    assert "50 CPU" in (row.message or "")
    assert world.states(found) == ["CANCELLED", "CANCELLED", "FAILED"]
    assert world.starts.started == []
    again, other = world.ask("resources.cpus=50"), world.ask("context_length=9")
    world.dispatcher.tick()
    assert world.catalog.job(again.job_id).code == "cannot_fit"
    assert world.starts.started == [f"{job}-a2" for job in other.jobs[:2]]


def test_what_can_never_fit_takes_its_pipeline_with_it_before_anything_starts(world: World) -> None:
    config = world.toy.folder / "pipeline.yaml"
    stage = world.toy.folder / "large.yaml"
    stage.write_text(json.dumps({**json.loads(world.toy.config.read_text()), "resources": {"cpus": 50}}))
    config.write_text(json.dumps({"stage": "pipeline", "stages": [str(stage)]}))
    found = world.ask(stage="pipeline", config=config)
    world.dispatcher.tick()
    assert world.states(found) == ["CANCELLED", "CANCELLED", "FAILED", "FAILED"]
    assert world.catalog.job(found.job_id).code == "cannot_fit"
    assert world.starts.started == []


def test_a_request_whose_rows_are_not_all_written_yet_is_not_refused(world: World) -> None:
    """Those that follow would be left behind, and made in vain."""
    found = world.ask("resources.cpus=50")
    world.set("jobs", found.jobs[1], state="SUCCEEDED")  # as if it were not asked for yet
    world.dispatcher.tick()
    assert world.catalog.job(found.job_id).state == State.QUEUED


def test_an_input_that_does_not_exist_and_that_nobody_makes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"stage": "tokenize", "dataset": "datasets/" + "0" * 16, "model": "models/" + "0" * 16}
    with pytest.raises(MissingInput, match="has no datasets/0000000000000000"):
        submit(world.catalog, world.store, parse_config("tokenize", config), created_by="ada", profile="local")
    assert not world.catalog.jobs()
    # Deleted after it was asked for: there is some time for whoever is about to ask, and then an end.
    job = world.catalog.submit(
        stage="tokenize", fingerprint="c" * 16, config=config, requirement={}, outputs=["tokens/" + "c" * 16],
        inputs={"dataset": config["dataset"]}, created_by="ada", drive=False,
    )  # fmt: skip
    world.dispatcher.tick()
    assert world.catalog.job(job.job_id).state == State.QUEUED
    monkeypatch.setattr(input_tracker, "GRACE_S", 0.0)
    world.dispatcher.tick()
    row = world.catalog.job(job.job_id)
    assert (row.state, row.code) == (State.FAILED, "missing_input")


def test_nodes_that_the_autoscaler_can_add_are_asked_for_and_waited_for(world: World) -> None:
    world.node_types = (NodeType("big", 64, 0, 1 << 36, {}, 2),)
    found = world.ask("resources.cpus=50")
    for job in found.jobs[:2]:
        world.dispatcher.tick()
        world.do(job)
    assert world.grown == []
    world.dispatcher.tick()
    row = world.catalog.job(found.job_id)
    assert (row.state, row.blocked and row.blocked["kind"]) == (State.WAITING, "nodes")
    assert "1 x big" in (row.message or "")
    assert [requirement.cpus for requirement in world.grown[-1]] == [50]
    world.catalog.request_cancel(found.job_id)
    world.dispatcher.tick()
    assert world.grown[-1] == []


def test_of_two_that_make_one_artifact_one_waits_though_the_other_runs_on_another_cluster(world: World) -> None:
    """It holds no machine of this one."""
    found = world.ask("resources.cpus=4")
    ref = world.catalog.job(found.job_id).outputs[0]
    driven = world.catalog.submit(
        stage="train", fingerprint="d" * 16, config={}, requirement={"cpus": 4}, outputs=[ref],
        inputs={}, created_by="ada",
    )  # fmt: skip
    world.catalog.grant(driven.job_id, 1, None, "session-0")
    for job in found.jobs[:-1]:
        world.dispatcher.tick()
        world.do(job)
    world.dispatcher.tick()
    row = world.catalog.job(found.job_id)
    assert row.state == State.WAITING
    assert (row.blocked or {})["kind"] == "same_artifact"
    assert (row.blocked or {})["blocked_by"] == [driven.job_id]
    world.catalog.finish(driven.job_id, 1, "FAILED", code="failed")
    world.dispatcher.tick()
    assert f"{found.job_id}-a1" in world.starts.started
