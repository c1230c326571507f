"""Temporary folders of processes of this machine that were killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import psutil

PREFIX = "raylens-"  # of temporary folders: raylens-PID-SOMETHING


def temporary_orphans() -> list[Path]:
    """Temporary folders of this user whose process is gone."""
    folders = {Path("/tmp"), Path(tempfile.gettempdir())}
    return orphans((path, path.name.split("-")[1]) for folder in folders for path in folder.glob(f"{PREFIX}*-*"))


def orphans(folders: Iterable[tuple[Path, str]]) -> list[Path]:
    """Those of this user's folders whose process, given as text, is gone."""
    found = []
    for path, pid in folders:
        try:
            if pid.isdigit() and not psutil.pid_exists(int(pid)) and path.stat().st_uid == os.getuid():
                found.append(path)
        except FileNotFoundError:  # another process swept it at the same time
            continue
    return found


def remove(folders: Iterable[Path]) -> None:
    """Removes folders with all that is in them; one that is gone already is as good."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
