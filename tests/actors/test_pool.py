"""Chunks over actors: what finds no place is told or done without, and a stop waits for no one that never started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import ray

from actors import pool
from actors.pool import Pool, WorkersDidNotStart, WorkersKeepDying, run_chunks
from configs.requirements import Requirement
from jobs.life.outcome import failure_of

CPUS = 4  # of the fixture's cluster


class Squarer:
    """Works at one number a call; 13 kills it."""

    def square(self, number: int) -> tuple[int, int]:
        if number == 13:
            os._exit(1)
        return number * number, os.getpid()


def make() -> Any:
    return ray.remote(Squarer).options(**pool.worker_options(Requirement(cpus=1))).remote()


@contextmanager
def taken(cpus: int) -> Iterator[None]:
    """Something outside the catalog holds that many CPUs. First it waits for what earlier tests gave back."""
    holder = ray.remote(Squarer).options(num_cpus=cpus).remote()
    ray.get(holder.square.remote(1), timeout=60)
    try:
        yield
    finally:
        ray.kill(holder)


@pytest.mark.usefixtures("ray_cluster")
def test_workers_that_find_no_place_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START_S", 1.0)
    with taken(CPUS), pytest.raises(WorkersDidNotStart, match=r"none of 2 worker.* see `ray status`") as caught:
        run_chunks(make, [1, 2, 3], 2, "square", lambda chunk, result: None)
    assert failure_of(caught.value).code == "workers_did_not_start"
    assert failure_of(caught.value).retryable


@pytest.mark.usefixtures("ray_cluster")
def test_a_stop_does_not_wait_for_workers_that_never_started() -> None:
    began = time.monotonic()
    with taken(CPUS):
        assert not run_chunks(
            make, [1, 2], 2, "square", lambda chunk, result: None, lambda: time.monotonic() - began > 0.5
        )
        assert time.monotonic() - began < pool.START_S / 2


@pytest.mark.usefixtures("ray_cluster")
def test_one_worker_does_the_work_of_those_that_find_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START_S", 10.0)
    done: dict[int, int] = {}
    with taken(CPUS - 1):
        assert run_chunks(make, range(12), 3, "square", lambda chunk, result: done.update({chunk: result[1]}))
    assert set(done) == set(range(12))
    assert len(set(done.values())) == 1


@pytest.mark.usefixtures("ray_cluster")
def test_a_pool_keeps_its_workers_from_run_to_run_and_makes_those_that_are_missing() -> None:

    def workers(pool: Pool, n_actors: int) -> set[int]:
        """Works at numbers until that many processes have answered."""
        found: set[int] = set()
        pool.run(
            make,
            range(14, 100_000),
            n_actors,
            "square",
            lambda _, result: found.add(result[1]),
            lambda: len(found) >= n_actors,
        )
        return found

    with Pool() as kept:
        first = workers(kept, 1)
        assert workers(kept, 1) == first
        both = workers(kept, 2)
        assert len(both) == 2
        assert both > first
        assert workers(kept, 2) == both


@pytest.mark.usefixtures("ray_cluster")
def test_a_chunk_that_kills_its_workers_ends_the_run() -> None:
    done: list[int] = []
    with pytest.raises(WorkersKeepDying, match="died 2 times in a row"):
        run_chunks(make, [1, 13], 1, "square", lambda chunk, result: done.append(chunk), max_deaths=1)
    assert done == [1]
