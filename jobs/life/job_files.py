"""What a job has on the disk of RAYLENS_HOME: a log that stays, and a scratch folder that does not."""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.machines.orphans import orphans as orphan_folders
from cluster.machines.orphans import remove, temporary_orphans


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
    remove(orphans(home))
    parent = home / "scratch"
    parent.mkdir(exist_ok=True)
    folder = parent / f"{job_id}-a{attempt}-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def orphans(home: Path) -> list[Path]:
    """What processes of this machine left that were killed hard: scratch folders, workers' temporary ones."""
    scratch = ((path, path.name.rpartition("-")[2]) for path in (home / "scratch").glob("*-*"))
    return orphan_folders(scratch) + temporary_orphans()
