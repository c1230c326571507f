"""Which process drives an attempt, and whether it is still there. Its id alone does not tell: ids are used again."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from cluster.process_identity import process_identity


class ProcessId(NamedTuple):
    """A process: its host, its id there, and an identity that no other process with that id will have."""

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
