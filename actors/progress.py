"""How workers tell their driver where they are: one 0-CPU actor a job. Workers never open the catalog."""

from __future__ import annotations

from typing import Any

import ray


class Board:
    """The latest figure of each key, and whether the job was asked to stop. Losing it loses no work."""

    def __init__(self) -> None:
        self._figures: dict[str, int] = {}
        self._notes: list[str] = []
        self._stop = False

    def report(self, key: str, done: int) -> None:
        """How far `key` (a phase, a worker's lane, ...) is. Never moves back: calls may arrive out of order."""
        self._figures[key] = max(done, self._figures.get(key, done))

    def note(self, text: str) -> None:
        """One line for the job's log."""
        self._notes.append(text)

    def latest(self) -> dict[str, int]:
        """The figures by key."""
        return dict(self._figures)

    def notes(self) -> list[str]:
        """The lines noted since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def request_stop(self) -> None:
        """Asks workers to finish their block, write a checkpoint and end."""
        self._stop = True

    def stop_requested(self) -> bool:
        """Whether request_stop was called. Workers ask between blocks."""
        return self._stop


ProgressChannel = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Board)


def open_channel() -> Any:
    """Starts the channel of one job. It ends when its handle is dropped, at the latest with the driver."""
    return ProgressChannel.remote()
