"""What a driver and its workers say, in a file of ours that outlives the head, as well as where it went before."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def teed(log: Path) -> Iterator[None]:
    """While the block runs, standard output and error also go to `log`, each line with its time.

    By file descriptor, so that it holds for Ray's lines and for libraries written in C too.
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
