"""A job's progress that a test reads."""

from __future__ import annotations


class ReportedProgress:
    """Keeps what is reported as done, from the start of each phase on."""

    def __init__(self) -> None:
        self.reported: list[int] = []

    def start(self, phase: str, total: int, unit: str, done: int = 0) -> None:
        """A phase starts, with `done` done already."""
        self.reported.append(done)

    def update(self, done: int, durable: bool = True) -> None:
        """More is done."""
        self.reported.append(done)

    def log(self, message: str) -> None:
        """Messages are not kept."""
