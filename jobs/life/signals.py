"""Ctrl-C and SIGTERM: the first one asks to stop and leave a checkpoint, the second one ends the job at once."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from types import FrameType


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
