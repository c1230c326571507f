"""`--block` ends with what it started, and ends that and nothing else of the machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cluster.machines.node_records import head_file, recorded_head
from cluster.machines.paths import code_root
from cluster.machines.processes import is_alive
from tests.cluster.standins import StandIns, stand_ins

__all__ = ["stand_ins"]
OTHER = "127.0.0.1:9"


@contextmanager
def _command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster", *arguments],
        env=dict(os.environ),
        cwd=code_root(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("killed", [False, True])
def test_a_node_that_ends_leaves_the_machines_head_and_other_nodes_alone(stand_ins: StandIns, killed: bool) -> None:
    head = stand_ins.head()
    (node, record), (other, other_record) = stand_ins.node(OTHER), stand_ins.node("127.0.0.1:10")
    with _command("join", OTHER, "--num-cpus", "1", "--num-gpus", "0", "--block") as process:
        assert process.stdout is not None
        assert f"process {node.pid};" in process.stdout.readline()  # it joined already
        if killed:
            psutil.Process(node.pid).kill()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == (1 if killed else 0)
    assert not is_alive(node) and not record.exists() and not Path(node.temp_dir).exists()
    assert is_alive(head) and recorded_head() == head
    assert is_alive(other) and other_record.exists()


def test_a_head_is_ended_also_while_its_dispatcher_starts(stand_ins: StandIns) -> None:
    head = stand_ins.head()
    node, record = stand_ins.node(OTHER)
    with _command("up", "--no-api", "--block") as process:
        _wait(lambda: any("dispatcher" in child.cmdline() for child in psutil.Process(process.pid).children()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not is_alive(head) and recorded_head() is None and not Path(head.temp_dir).exists()
    assert is_alive(node) and record.exists()


def test_a_head_on_another_machine_is_not_stayed_with(stand_ins: StandIns) -> None:
    head = stand_ins.head()
    elsewhere = {**head._asdict(), "machine": "elsewhere", "identity": "another boot:1"}
    head_file().write_text(json.dumps(elsewhere))
    with _command("up", "--no-api", "--block") as process:
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 1
    assert "the cluster runs on elsewhere: leave out --block here" in said
    assert json.loads(head_file().read_text()) == elsewhere
    assert is_alive(head)


def _wait(what: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)
