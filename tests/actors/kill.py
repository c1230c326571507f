"""Finds this test's own actor processes, to kill them from outside. Reads /proc, as the cluster has no dashboard."""

from __future__ import annotations

import os
from pathlib import Path


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
