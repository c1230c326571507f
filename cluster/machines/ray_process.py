"""Starting `ray start --block` in the background."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cluster.machines.errors import ClusterError
from cluster.machines.paths import raylens_home
from cluster.machines.processes import ProcessRecord, is_alive
from cluster.process_identity import process_identity

RAY_START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block")
_LINES_SHOWN = 5


def start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a process that outlives this one; what it says goes to the log, which stays locked while it lives."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w+b") as output:
        fcntl.flock(output, fcntl.LOCK_SH)  # of the open file, which the process inherits
        return subprocess.Popen(
            command,
            env=environment,
            cwd=raylens_home(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def head_log() -> Path:
    """What the head's process says."""
    return raylens_home() / "logs" / "cluster.log"


def identity_of(process: subprocess.Popen[bytes]) -> str:
    """Tells it from a later process with its pid. Raises ClusterError if it has ended."""
    if (identity := process_identity(process.pid)) is None:
        raise ClusterError("it ended at once")
    return identity


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, what: str, wait: float) -> None:
    """Returns once it is ready. Raises ClusterError, with the end of its log, if it ends before or takes too long."""
    deadline = time.monotonic() + wait
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            why = f"it ended with status {process.poll()}" if process.poll() is not None else f"no answer in {wait:g} s"
            tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LINES_SHOWN:]
            raise ClusterError(f"{what} did not start ({why}); the end of {log}:\n" + "\n".join(tail))
        time.sleep(0.2)


def stay(started: ProcessRecord) -> None:
    """Returns once it has ended."""
    while is_alive(started):
        time.sleep(1)


def is_started(log: Path) -> bool:
    """True if `ray start` has reported that its node is known to the head; before, it cannot even be ended in order."""
    return "Ray runtime started." in log.read_text(encoding="utf-8", errors="replace")
