"""What a job has on the disk of RAYLENS_HOME: a log that stays, and a scratch folder that does not."""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def log_file(home: Path, job_id: str) -> Path:
    """Where the log of a job is; its folder is made."""
    folder = home / "logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{job_id}.log"


def write_trace(log: Path, error: BaseException) -> None:
    """Adds an error with its traceback to a log."""
    with log.open("a", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))


@contextmanager
def scratch_folder(home: Path, job_id: str, attempt: int) -> Iterator[Path]:
    """A folder of the attempt's own, on the disk of RAYLENS_HOME so that a local store takes files over by renaming."""
    import psutil

    parent = home / "scratch"
    parent.mkdir(exist_ok=True)
    for left in parent.glob("*-*"):  # of drivers that were killed hard
        pid = left.name.rpartition("-")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{job_id}-a{attempt}-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
