"""A wall clock that is set neither ends a cluster that lives nor hides it."""

from __future__ import annotations

import os
import threading

import psutil
import pytest

from cluster.machines.discover import discover
from cluster.machines.down import down
from cluster.machines.join import join
from cluster.machines.node_records import HeadRecord, recorded_head, running_head
from cluster.machines.processes import is_alive
from cluster.machines.ray_process import stay
from cluster.machines.up import up
from cluster.process_identity import boot_of, current_boot, process_identity
from tests.cluster.standins import StandIns, stand_ins

__all__ = ["stand_ins"]


def _set_clock(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """As if it were set by so many seconds: psutil then works out another time of the boot."""
    before, boot = psutil.Process().create_time(), psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + step)
    assert psutil.Process(os.getpid()).create_time() == pytest.approx(before + step)


@pytest.mark.parametrize("step", [-86400, -1, 1, 86400])
def test_a_cluster_is_found_after_the_clock_was_set(
    stand_ins: StandIns, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = stand_ins.head()
    joined, _ = stand_ins.node("127.0.0.1:9")
    _set_clock(monkeypatch, step)
    assert running_head() == head == discover().head
    assert up() == head
    assert join(joined.address, cpus=1, gpus=0) == joined
    assert is_alive(head) and is_alive(joined)


def test_who_stays_with_a_head_leaves_with_it_and_not_with_the_clock(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = stand_ins.head()
    _set_clock(monkeypatch, 1)
    thread = threading.Thread(target=stay, args=(head,), daemon=True)
    thread.start()
    thread.join(1.3)
    assert thread.is_alive()
    psutil.Process(head.pid).kill()
    thread.join(5)
    assert not thread.is_alive()


def test_a_mark_names_one_process_of_one_boot(stand_ins: StandIns) -> None:
    head = stand_ins.head()
    assert head.identity == process_identity(head.pid) != process_identity(os.getpid())
    assert boot_of(head.identity) == current_boot()
    for other in (process_identity(os.getpid()), f"another boot:{head.identity.partition(':')[2]}"):
        assert other is not None
        assert not is_alive(head._replace(identity=other))
    assert down() != []
    assert process_identity(head.pid) is None
    assert recorded_head() is None


def test_a_zombie_is_no_head() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process_identity(pid) is None
    assert not is_alive(HeadRecord("h:1", "http://h:2", pid, "/tmp/x", None, "h", f"{current_boot()}:1"))
    os.waitpid(pid, 0)
