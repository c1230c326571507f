"""A wall clock that is set neither ends a cluster that lives nor hides it."""

from __future__ import annotations

import json
import os
import threading

import psutil
import pytest

from cluster.machines.discover import Up, discover, read_up, recorded_up, up_file
from cluster.machines.down import down
from cluster.machines.join import join
from cluster.machines.processes import is_alive
from cluster.machines.ray_process import stay
from cluster.machines.up import up
from cluster.process_identity import boot_of, process_mark, this_boot
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
    assert read_up() == head == discover().up
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
    assert head.mark == process_mark(head.pid) != process_mark(os.getpid())
    assert boot_of(head.mark) == this_boot()
    for other in (process_mark(os.getpid()), f"another boot:{head.mark.partition(':')[2]}"):
        assert other is not None
        assert not is_alive(head._replace(mark=other))
    assert down() != []
    assert process_mark(head.pid) is None
    assert recorded_up() is None


def test_a_record_of_an_earlier_version_is_of_what_carries_its_folder(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no mark, and a time that the clock may have left behind."""
    head = stand_ins.head()
    record = {name: value for name, value in head._asdict().items() if name != "mark"}
    up_file().write_text(json.dumps({**record, "created": psutil.Process(head.pid).create_time() - 5}))
    assert up() == head._replace(mark="")
    up_file().write_text(json.dumps({**record, "created": 1.0, "pid": os.getpid()}))  # a pid that is used again
    assert discover().own
    up_file().write_text(json.dumps({**record, "created": 1.0}))
    assert head.pid in down()
    assert not is_alive(head)


def test_a_zombie_is_no_head() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process_mark(pid) is None
    assert not is_alive(Up("h:1", "http://h:2", pid, "/tmp/x", None, mark=f"{this_boot()}:1"))
    os.waitpid(pid, 0)
