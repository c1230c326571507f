"""Leases: one holder at a time, whatever clocks do."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from cluster.records import Records
from tests.cluster.catalog import REPOSITORY
from tests.cluster.conftest import Clocks

TAKE = """
import sys
from cluster.records import open_records
with open_records(sys.argv[1]) as records:
    print(records.lease("dispatcher", "other", 3600.0), flush=True)
    sys.stdin.readline()
"""


def test_one_holds_it(records: Records) -> None:
    assert records.lease_row("dispatcher") is None
    assert records.lease("dispatcher", "a", 60.0, {"capacity": {"cpus": 2}})
    assert not records.lease("dispatcher", "b", 60.0, {"capacity": {}})
    assert records.lease("dispatcher", "a", 60.0), "it renews"
    row = records.lease_row("dispatcher")
    assert row is not None
    assert (row.holder, row.data, row.held) == ("a", {"capacity": {"cpus": 2}}, True)
    assert row.until == pytest.approx(time.time() + 60, abs=30)
    assert records.lease("other", "b", 60.0), "another lease"
    records.release("dispatcher", "b")
    assert not records.lease("dispatcher", "b", 60.0)
    records.release("dispatcher", "a")
    assert records.lease_row("dispatcher") is None
    assert records.lease("dispatcher", "b", 60.0)
    with pytest.raises(ValueError, match="longer than 0"):
        records.lease("dispatcher", "b", 0)


def test_it_runs_out(records: Records, clocks: Clocks) -> None:
    assert records.lease("dispatcher", "a", 5.0, {"x": 1})
    clocks.run(6)
    row = records.lease_row("dispatcher")
    assert row is not None
    assert not row.held
    assert records.lease("dispatcher", "b", 60.0)
    row = records.lease_row("dispatcher")
    assert row is not None
    assert (row.holder, row.data, row.held) == ("b", {}, True), "what the last one said is not what this one says"
    assert not records.lease("dispatcher", "a", 60.0)


def test_a_process_that_is_gone_holds_nothing(records: Records, catalog_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TAKE, catalog_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert not records.lease("dispatcher", "me", 60.0)
        process.kill()
    assert records.lease("dispatcher", "me", 60.0)


def test_a_lease_of_another_machine_is_watched(
    records: Records, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clocks tell nothing here, so only this process' own says how long it has not been renewed."""

    def elsewhere(seconds: float) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr("socket.gethostname", lambda: "elsewhere")
            patch.setattr("cluster.records.leases.current_boot", lambda: "another boot")
            return records.lease("dispatcher", "a", seconds)

    assert elsewhere(40)
    clocks.run(1000)
    assert not records.lease("dispatcher", "b", 60.0), "nobody has watched it yet"
    clocks.run(30)
    assert elsewhere(40)
    assert not records.lease("dispatcher", "b", 60.0)
    clocks.run(30)
    assert not records.lease("dispatcher", "b", 60.0), "it was renewed since"
    row = records.lease_row("dispatcher")
    assert row is not None
    assert row.held
    clocks.run(11)
    assert records.lease("dispatcher", "b", 60.0)
