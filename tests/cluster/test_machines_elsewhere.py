"""A record under another host's name: no obstacle once its cluster has ended for certain, and never taken from one that lives."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cluster.machines.down import down
from cluster.machines.errors import ClusterError
from cluster.machines.node_records import HeadRecord, head_file, recorded_head, running_head, write_record
from cluster.machines.ports import answers, free_ports
from cluster.machines.processes import is_alive
from cluster.machines.ray_process import head_log, start
from cluster.machines.up import up
from cluster.process_identity import current_boot
from tests.cluster.standins import StandIns, stand_ins

__all__ = ["stand_ins"]

FOREIGN = "no.such.host.invalid:9"
PASSED = "a port is a number from 1024"  # `up` looks at the port once the way is free


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _write(address: str, identity: str) -> None:
    record = HeadRecord(
        address, "http://127.0.0.1:9", 2**22 + 1, "/tmp/raylens-up-gone", None, machine="old-name", identity=identity
    )
    write_record(head_file(), record._asdict())


def _own_address() -> str:
    found = (a.address for nic in psutil.net_if_addrs().values() for a in nic if a.family == socket.AF_INET)
    return next((address for address in found if not address.startswith("127.")), "127.0.0.1")


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        (lambda: f"127.0.0.1:{free_ports(1)[0]}", "another boot:1"),  # a container made anew, on any machine
        (lambda: f"{_own_address()}:{free_ports(1)[0]}", "another boot:1"),  # a host that was renamed, and restarted
        (lambda: FOREIGN, f"{current_boot()}:1"),  # a container made anew with another address
    ],
)
def test_a_cluster_that_has_ended_is_cleared_away(address: Callable[[], str], identity: str) -> None:
    _write(address(), identity)
    with pytest.raises(ClusterError, match=PASSED):
        up(port=80)
    assert recorded_head() is None
    _write(address(), identity)
    assert down() == []
    assert recorded_head() is None


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        (FOREIGN, "another boot:1"),
        (FOREIGN, ":1"),  # of a system that does not name its boots
    ],
)
def test_one_that_may_live_is_left_alone(address: str, identity: str) -> None:
    _write(address, identity)
    _is_refused()


def test_one_that_answers_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gcs:
        address = f"127.0.0.1:{gcs.getsockname()[1]}"
        _write(address, "another boot:1")
        with pytest.raises(ClusterError, match=f"a cluster is up already at {address}"):
            up(port=80)
        with pytest.raises(ClusterError, match="started on old-name"):
            down()
        assert recorded_head() is not None


def test_one_on_a_shared_disk_is_left_alone_while_its_log_is_locked() -> None:
    """Its loopback address cannot be seen from here; its lock can."""
    _write(f"127.0.0.1:{free_ports(1)[0]}", "another boot:1")
    process = start(["sleep", "600"], {}, head_log())
    try:
        _is_refused()
    finally:
        process.kill()
        process.wait()
    assert down() == []
    assert recorded_head() is None


def test_the_lock_of_a_log_is_no_obstacle_to_who_starts_over_it(home: Path) -> None:
    """What a head that was killed left may hold it for a while."""
    head_log().parent.mkdir(parents=True)
    with head_log().open("w+b") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert start(["true"], {}, head_log()).wait(10) == 0


def test_a_host_that_was_renamed_keeps_its_cluster(stand_ins: StandIns) -> None:
    head = stand_ins.head(machine="old-name")
    assert is_alive(head)
    assert up() == running_head() == head
    assert head.pid in down()
    assert recorded_head() is None
    assert not is_alive(head)


def _is_refused() -> None:
    before = recorded_head()
    assert before is not None and not answers(before.address, 0.2)
    for command in (lambda: up(port=80), down):
        with pytest.raises(ClusterError, match="started on old-name"):
            command()
        assert recorded_head() == before
