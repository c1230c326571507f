"""What a driver process has: its signals, its captured output, its log file and scratch folder."""

from __future__ import annotations

import _thread
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cluster.machines.orphaned_folders import orphans as orphan_folders
from cluster.machines.orphaned_folders import remove, temporary_orphans


class StopFlag:
    """Set by signals and by cancel requests; read by stages between blocks."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.installed = False
        self.now = False  # the next signal, real or not, ends the job at once

    def set(self) -> None:
        """Asks the running stage to finish its block and end."""
        self._event.set()

    def end_now(self) -> None:
        """Ends the main thread's work at once, from any thread."""
        self.now = True
        self._event.set()
        _thread.interrupt_main()

    def __call__(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleeps, but not past a request. True if there is one."""
        return self._event.wait(seconds)


def install(stop: StopFlag) -> None:
    """Takes over SIGINT and SIGTERM, in the main thread. Again after ray.init, which puts its own on SIGTERM."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.now:
            raise KeyboardInterrupt
        stop.now = True
        stop.set()
        name = signal.Signals(number).name
        print(
            f"{name}: finishing the block and leaving a checkpoint; once more to end now", file=sys.stderr, flush=True
        )

    stop.installed = True
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


@contextmanager
def captured_output(log: Path) -> Iterator[None]:
    """While the block runs, standard output and error also go to `log`, each line with its time.

    By file descriptor, so that Ray's lines and those of libraries written in C are captured too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(2)
    kept = os.dup(1)
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)
    thread = threading.Thread(target=_copy, args=(reader, before, log), name="raylens-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.dup2(before, 2)  # the pipe has no writer any more, so its reader comes to the end
        thread.join(5.0)
        os.close(kept)


def _copy(reader: int, before: int, log: Path) -> None:
    with os.fdopen(reader, "rb") as lines, os.fdopen(before, "wb", closefd=False) as screen:
        for line in lines:
            with _quietly():
                screen.write(line)
                screen.flush()
            with _quietly(), log.open("ab") as file:  # a full disk must not end the work
                file.write(time.strftime("%H:%M:%S ").encode() + line)


@contextmanager
def _quietly() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


def log_file(home: Path, job_id: str) -> Path:
    """Where the log of a job is; its folder is made."""
    folder = home / "logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{job_id}.log"


def curves_file(home: Path, job_id: str) -> Path:
    """Where the curves of a training job are while it runs, and after: beside its log."""
    return log_file(home, job_id).with_suffix(".curves.json")


def log_traceback(log: Path, error: BaseException) -> None:
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
