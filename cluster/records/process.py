"""Which process drives an attempt, and whether it is still there. Its id alone does not tell: ids are used again."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NamedTuple

import psutil

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Driver(NamedTuple):
    """A process: its host, its id there, and a mark that no other process with that id will have."""

    host: str
    pid: int
    process: str

    @classmethod
    def this(cls) -> Driver:
        """The process that asks."""
        mark = process_mark(os.getpid())
        if mark is None:
            raise RuntimeError("this process cannot find itself in the process table")
        return cls(socket.gethostname(), os.getpid(), mark)

    def here(self) -> bool:
        """True if the process is, or was, one of this host's."""
        return self.host == socket.gethostname()

    def gone(self) -> bool:
        """True if the process has ended. Only to be asked on its own host."""
        return process_mark(self.pid) != self.process


def process_mark(pid: int) -> str | None:
    """What tells a process from a later one with its id: boot and start time. None if it is gone or a zombie.

    On Linux the start is counted from boot: psutil's create_time adds the wall clock, which may be set meanwhile.
    """
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return None
        if _BOOT.exists():
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
            return f"{_BOOT.read_text().strip()}:{ticks}"
        return f"{psutil.Process(pid).create_time():.2f}"
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None
