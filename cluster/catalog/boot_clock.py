"""Time that a wall clock set back or forward cannot falsify, as far as one boot of one machine reaches.

A time in a row is wall-clock time, for people. Beside it stands the boot of the machine that wrote it and what the wall
clock was ahead of that boot's own clock by. On the same boot, whoever decides by that time asks what the wall clock would
say now had nobody set it; after a restart, or on another machine, the wall clock is all there is.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from cluster.process_identity import current_boot


def boot_seconds() -> float:
    """Seconds since the boot, time asleep included; no process of the machine sees another count."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Anchor(NamedTuple):
    """A wall clock's setting: what it was ahead of the clock of a boot by."""

    boot: str | None
    ahead: float

    @classmethod
    def here(cls) -> Anchor:
        """Of this machine, now."""
        return cls(current_boot(), time.time() - boot_seconds())

    def now(self) -> float:
        """What that wall clock would say now."""
        return boot_seconds() + self.ahead if self.boot is not None and self.boot == current_boot() else time.time()
