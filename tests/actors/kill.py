"""Finds this test's own actor processes, and kills them from outside. Reads /proc, as the cluster has no dashboard."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from cluster.store import Store
from configs.artifact_ids import ArtifactRef

_LONGEST_S = 60


@contextmanager
def one_killed(store: Store, output: ArtifactRef, class_name: str) -> Iterator[None]:
    """Kills one actor of this class once a part of `output` is stored, while the block runs. It fails if none was hit."""
    killed: list[int] = []
    killer = Thread(target=_kill_one, args=(store, output, class_name, killed))
    killer.start()
    yield
    killer.join()
    assert killed, "the kill hit nothing"


def _kill_one(store: Store, output: ArtifactRef, class_name: str, killed: list[int]) -> None:
    end = time.monotonic() + _LONGEST_S
    while time.monotonic() < end and not killed and store.manifest(output) is None:
        if store.parts(output):
            for pid in actor_pids(class_name)[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        time.sleep(0.005)


def actor_pids(class_name: str) -> list[int]:
    """Processes below this one that run an actor of this class, by the title that Ray gives them."""
    return [pid for pid in _pids() if _title(pid).startswith(f"ray::{class_name}") and os.getpid() in _parents(pid)]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""  # it has just ended


def _parents(pid: int) -> list[int]:
    found: list[int] = []
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
        found.append(pid)
    return found
