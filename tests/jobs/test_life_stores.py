"""Bytes count in the store that a job writes to, and no byte is promised twice."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.catalog import State
from cluster.store import Manifest, Store, StoreUnreachable
from configs.artifact_ids import parse_ref
from configs.load import load_config
from configs.requirements import Capacity, Node
from jobs import stages
from jobs.life import resource_demand
from jobs.life.submit import submit
from tests.jobs.toys import tokenize
from tests.jobs.world import World

GIB = 1 << 30


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What each store's disk has free, by its URL; those that are not in it have no end."""
    free: dict[str, int] = {}
    monkeypatch.setattr(Store, "free_bytes", lambda self: free.get(self.url, 1 << 60))
    return free


@pytest.fixture(autouse=True)
def _sizes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy job writes as many GiB as its seed says."""
    sized = replace(tokenize.STAGE, store_bytes=lambda config, inputs, store: config.seed * GIB)
    monkeypatch.setitem(stages.LOADED, "tokenize", sized)
    monkeypatch.setattr(resource_demand, "WRITTEN_S", 0.0)


def _ask(world: World, store: Store, gib: int) -> str:
    """A job that writes so much to a store which has its inputs; gives its id."""
    config = load_config("tokenize", world.toy.config, [f"seed={gib}"])
    environment: dict[str, Any] = {"env_vars": {"RAYLENS_STORE": store.url}}
    found = submit(world.catalog, store, config, created_by="ada", profile="local", environment=environment)
    for job in found.jobs[:-1]:
        world.dispatcher.tick()
        world.do(job)
        row = world.catalog.job(job)
        if store.url != world.store.url:
            for ref in row.outputs:
                shutil.copytree(Path(world.store.location(parse_ref(ref))), Path(store.location(parse_ref(ref))))
    return found.job_id


def test_a_job_is_held_against_its_own_store(world: World, disks: dict[str, int], tmp_path: Path) -> None:
    other = Store.open(str(tmp_path / "other"))
    disks |= {world.store.url: GIB, other.url: 9 * GIB}
    fits, never = _ask(world, other, 5), _ask(world, world.store, 2)
    world.dispatcher.tick()
    assert f"{fits}-a1" in world.starts.started
    row = world.catalog.job(never)
    assert (row.state, row.code) == (State.FAILED, "cannot_fit")
    assert "the store has 1.00 GiB free" in (row.message or "")


def test_two_jobs_that_fill_more_than_half_of_a_disk_do_not_both_start(world: World, disks: dict[str, int]) -> None:
    disks[world.store.url] = 10 * GIB
    first, second = _ask(world, world.store, 6), _ask(world, world.store, 5)
    world.dispatcher.tick()
    assert f"{first}-a1" in world.starts.started
    row = world.catalog.job(second)
    assert (row.state, row.blocked and row.blocked["blocked_by"]) == (State.WAITING, [first])
    assert f"blocked by {first}" in (row.message or "")
    disks[world.store.url] = 11 * GIB  # somebody made room
    world.dispatcher.tick()
    assert f"{second}-a1" in world.starts.started


def test_what_a_running_job_has_written_is_not_taken_out_twice(
    world: World, disks: dict[str, int], tmp_path: Path
) -> None:
    disks[world.store.url] = 10 * GIB
    first, second = _ask(world, world.store, 6), _ask(world, world.store, 3)
    world.set("jobs", second, retry_at=1e12)  # not yet
    world.dispatcher.tick()
    part = tmp_path / "part"
    with part.open("wb") as file:
        file.truncate(1 << 20)
    (ref,) = world.catalog.job(first).outputs
    world.store.put(parse_ref(ref), 1, "part", part, part=True)
    disks[world.store.url] = 9 * GIB - (1 << 20)
    world.set("jobs", second, retry_at=1)
    world.dispatcher.tick()  # of 9 GiB less one MiB, 6 GiB less that one are still to be written: 3 are left
    assert f"{second}-a1" in world.starts.started


@contextmanager
def _away(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The store does not answer. Gives the questions that it was asked."""
    asked: list[str] = []
    known = Store.manifest

    def manifest(self: Store, ref: Any) -> Manifest | None:
        if self.url != store.url:
            return known(self, ref)
        asked.append(str(ref))
        raise StoreUnreachable("cannot read: nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "manifest", manifest)
        yield asked


def test_a_job_says_that_its_store_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All others go on, and the store is asked once, however many jobs wait for it."""
    other = Store.open(str(tmp_path / "other"))
    waiting = [_ask(world, other, 1), _ask(world, other, 2)]
    fine = _ask(world, world.store, 3)
    with _away(other, monkeypatch) as asked:
        world.dispatcher.tick()
        world.dispatcher.tick()
    assert len(asked) == 1
    assert f"{fine}-a1" in world.starts.started
    for job in waiting:
        row = world.catalog.job(job)
        assert (row.state, row.blocked and row.blocked["kind"]) == (State.WAITING, "store")
        assert f"its store {other.url} does not answer" in (row.message or "")
        assert row.deadline is not None
    monkeypatch.setattr(resource_demand, "RETRY_S", 0.0)
    world.set("jobs", waiting[0], deadline=1)
    with _away(other, monkeypatch):
        world.dispatcher.tick()
    row = world.catalog.job(waiting[0])
    assert (row.state, row.code) == (State.FAILED, "store_unreachable")
    world.dispatcher.tick()
    assert f"{waiting[1]}-a1" in world.starts.started


def test_the_dispatcher_goes_on_while_its_own_store_does_not_say_what_is_free(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Store.open(str(tmp_path / "other"))
    fine, waits = _ask(world, other, 1), _ask(world, world.store, 2)

    def free_bytes(self: Store) -> int:
        if self.url == world.store.url:
            raise OSError(errno.ESTALE, "Stale file handle")
        return 1 << 60

    monkeypatch.setattr(Store, "free_bytes", free_bytes)
    monkeypatch.setattr(world, "capacity", lambda: Capacity((Node(4, 0, 1 << 34, {}, 4, 0, 1 << 34),)))
    world.dispatcher = world.another("one", "session-1")
    world.dispatcher.tick()
    assert f"{fine}-a1" in world.starts.started
    assert (world.catalog.job(waits).blocked or {})["kind"] == "store"
