"""Which process drives an attempt, and whether it is still there. Its id alone does not tell: ids are used again."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from cluster.process_identity import process_mark


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
