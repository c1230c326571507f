"""What tells a process from a later one with its id. No wall clock, which may be set, is in it."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import NamedTuple

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@cache
def current_boot() -> str | None:
    """Names this machine's present boot, also in its containers; None where the system has no such name."""
    return _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else None


def process_identity(pid: int) -> str | None:
    """Boot and start of a process, BOOT:TICKS. None if it is gone or a zombie.

    The kernel counts the start from boot. psutil's create_time adds the time of that boot, which Linux works out anew
    from the wall clock at each reading.
    """
    if not Path("/proc/self/stat").exists():
        return _identity_without_proc(pid)
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in (b"Z", b"X") else f"{current_boot() or ''}:{int(rest[18])}"


class ProcessId(NamedTuple):
    """A process: its host, its pid there, and process_identity() of it."""

    host: str
    pid: int
    process: str

    @classmethod
    def current(cls) -> ProcessId:
        """The calling process."""
        identity = process_identity(os.getpid())
        if identity is None:
            raise RuntimeError("this process cannot find itself in the process table")
        return cls(socket.gethostname(), os.getpid(), identity)

    def on_this_host(self) -> bool:
        """True if the process is, or was, one of this host's."""
        return self.host == socket.gethostname()

    def has_ended(self) -> bool:
        """True if the process has ended. Only to be asked on its own host."""
        return process_identity(self.pid) != self.process


def boot_of(identity: str) -> str | None:
    """The boot that an identity names; None if it names none."""
    return identity.partition(":")[0] or None


def _identity_without_proc(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f":{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
