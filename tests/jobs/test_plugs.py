"""Every plug pulled once, one after the other, from one training job: its artifacts are byte-equal to an undisturbed run's.

The counts are in `make chaos`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from cluster.catalog import JobRow, State
from configs.artifact_ids import parse_ref
from tests.kills import SHAPES
from tests.plugs import PLUGS, Up, outcome, pull


@pytest.fixture(scope="module")
def up(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    cluster = Up(tmp_path_factory.mktemp("plugs"), tiny_gpt2)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        cluster.catalog.close()


def _reached(up: Up, goal: int, row: JobRow) -> bool:
    assert row.live, f"the job ended {row.state} before block {goal}: a plug that is pulled from it proves nothing"
    return row.state == State.RUNNING and up.blocks(row.id) >= goal


@pytest.mark.timeout(600)
def test_a_job_outlives_all_that_it_stands_on(up: Up) -> None:
    config = up.config("a", saes=SHAPES, epochs=2)  # 32 blocks: enough for every plug on a fast machine too
    job = up.submit(config)
    expected = outcome(up, job)
    for ref in expected:
        up.store.delete(parse_ref(ref))
    assert up.submit(config) == job  # its artifacts are gone: the next attempt

    rng = random.Random(0)
    for plug in PLUGS:
        goal = up.blocks(job) + rng.randint(1, 3)
        up.wait(job, partial(_reached, up, goal))
        pull(up, job, plug)

    assert outcome(up, job) == expected
    states = [attempt.state for attempt in up.catalog.attempts(job)]
    assert states.count(State.SUCCEEDED) == 2
    assert set(states) == {State.SUCCEEDED, State.LOST}
    starts = [event.message for event in up.catalog.events(job) if event.kind == "state"]
    assert any("is gone" in (message or "") for message in starts)


def test_a_job_waits_as_a_row_and_leaves_the_line_when_its_turn_comes(up: Up) -> None:
    """The holder is named, no process is held, and what waits is cancelled at once."""
    holder = up.submit(up.config("holder", seed=11, epochs=50), "--set", "resources.cpus=4")
    up.wait(holder, lambda row: row.state == "RUNNING")
    waiting = up.submit(up.config("waiting", seed=12, epochs=1), "--set", "resources.cpus=2")
    behind = up.submit(up.config("behind", seed=13, epochs=1))
    row = up.wait(waiting, lambda row: row.state == "WAITING")
    assert row.blocked is not None
    assert row.blocked["blocked_by"] == [holder]
    assert "1 worker x {2 CPU" in row.blocked["requirement"]
    assert "4 CPU" in row.blocked["capacity"]
    assert holder in (row.message or "")
    assert row.deadline is not None
    assert up.catalog.attempts(waiting)[-1].pid is None
    assert up.wait(behind, lambda row: row.state == "WAITING").blocked["blocked_by"] == [waiting]  # type: ignore[index]
    up.run("jobs", "cancel", behind)
    assert up.catalog.job(behind).state == State.CANCELLED

    up.run("jobs", "cancel", holder)
    cancelled = up.ended(holder)
    assert cancelled.state == State.CANCELLED
    _, left = psutil.wait_procs(up.find(f"drive {holder}"), timeout=60)  # the shell around it ends a moment later
    assert not left
    granted = up.wait(waiting, lambda row: up.catalog.attempts(row.id)[-1].granted_at is not None)
    assert granted.attempt == 1  # by the cluster's dispatcher, once the CPUs were free
    up.run("jobs", "stop", waiting)
    stopped = up.ended(waiting)
    assert stopped.state == State.CANCELLED
    assert stopped.resumable


def test_what_can_never_run_says_so_and_ends_what_waits_for_it(up: Up) -> None:
    ran = up.run(
        "jobs", "train", "--config", up.config("never", seed=77), "--set", "resources.gpus=1", "--profile", "gpu"
    )
    assert ran.returncode == 1
    answer = json.loads(ran.stdout)
    row = up.catalog.job(answer["job"])
    assert (row.state, row.code) == (State.FAILED, "cannot_fit")
    for part in ("1 GPU", "0 GPU (0 free)", "can never run"):
        assert part in (row.message or "")
        assert part in ran.stderr
