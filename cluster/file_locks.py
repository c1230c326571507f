"""Whether files are locked. The kernel frees a lock when the processes that have its open file end."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def is_locked(path: Path, exclusively: bool = False) -> bool:
    """True if a process has a lock on a file, on whichever machine that shares the disk and its locks.

    `exclusively`: only if the lock is an exclusive one; then looks at it at the same time do not disturb one another.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if exclusively else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
