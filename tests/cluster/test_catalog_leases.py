"""Leases: one holder at a time, for as long as it lives, whatever clocks do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cluster.catalog import Catalog, open_catalog
from cluster.catalog.locks import Locks
from tests.cluster.catalog_rows import REPOSITORY
from tests.cluster.conftest import Clocks

TAKE = """
import sys
from cluster.catalog import open_catalog
with open_catalog(sys.argv[1]) as catalog:
    print(catalog.lease("dispatcher", "other", {"x": 1}), flush=True)
    sys.stdin.readline()
"""


def test_one_has_it(catalog: Catalog, catalog_url: str) -> None:
    assert catalog.lease_row("dispatcher") is None
    assert catalog.lease("dispatcher", "a", {"capacity": {"cpus": 2}})
    assert not catalog.lease("dispatcher", "b", {"capacity": {}})
    assert catalog.lease("dispatcher", "a"), "it has it already"
    row = catalog.lease_row("dispatcher")
    assert row is not None
    assert (row.holder, row.data, row.held) == ("a", {"capacity": {"cpus": 2}}, True)
    assert catalog.lease("other", "b"), "another lease"
    catalog.release("dispatcher", "b")
    with open_catalog(catalog_url) as others:
        assert not others.lease("dispatcher", "b")
        catalog.release("dispatcher", "a")
        assert others.lease_row("dispatcher") is None
        assert others.lease("dispatcher", "b")
        assert not catalog.lease("dispatcher", "a")


def test_it_ends_with_the_catalog_that_took_it(catalog: Catalog, catalog_url: str) -> None:
    with open_catalog(catalog_url) as others:
        assert others.lease("dispatcher", "a", {"x": 1})
    row = catalog.lease_row("dispatcher")
    assert row is not None
    assert (row.data, row.held) == ({"x": 1}, False), "what it said can be read for as long as nobody follows"
    assert catalog.lease("dispatcher", "b")
    row = catalog.lease_row("dispatcher")
    assert row is not None
    assert (row.holder, row.data, row.held) == ("b", {}, True)


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_no_clock_ends_it(catalog: Catalog, catalog_url: str, clocks: Clocks, jump: float) -> None:
    assert catalog.lease("dispatcher", "a")
    clocks.set(jump)
    clocks.run(100_000)
    with open_catalog(catalog_url) as others:
        row = others.lease_row("dispatcher")
        assert row is not None
        assert row.held
        assert not others.lease("dispatcher", "b")


def test_a_process_that_was_killed_has_nothing(catalog: Catalog, catalog_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TAKE, catalog_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert not catalog.lease("dispatcher", "me")
        process.kill()
        process.wait()
        _wait_until_free(catalog)
    assert catalog.lease("dispatcher", "me")


def _wait_until_free(catalog: Catalog) -> None:
    """A server learns of the end of a connection a moment later; a kernel at once."""
    while (row := catalog.lease_row("dispatcher")) is not None and row.held:
        pass


def test_a_holder_whose_connection_was_cut_knows(postgres: object) -> None:
    """Another may have taken the lease meanwhile: who lost it finds out before it uses it again."""
    from sqlalchemy import text

    with postgres.catalog() as url, open_catalog(url) as first, open_catalog(url) as second:  # type: ignore[attr-defined]
        assert first.lease("dispatcher", "a")
        with second._engine.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"))
        _wait_until_free(second)
        assert second.lease("dispatcher", "b")
        assert not first.lease("dispatcher", "a")
        second.release("dispatcher", "b")
        assert first.lease("dispatcher", "a")


def test_looking_disturbs_nobody(catalog: Catalog, catalog_url: str) -> None:
    """Whoever tries takes the lock although others look at it all the time."""
    with open_catalog(catalog_url) as others:
        looking = Locks(others._engine)
        for _ in range(50):
            looking.is_held("dispatcher")
            assert catalog.lease("dispatcher", "a")
            assert looking.is_held("dispatcher")
            catalog.release("dispatcher", "a")
