"""What the dispatcher writes on the rows of jobs that it does not start: what they wait for, or why they end."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from enum import Enum
from typing import Any

from cluster.records import JobRow, Records, RecordsError
from cluster.store import StoreUnreachable
from configs.requirements import Capacity, Requirement
from jobs.life.admission import Decision
from jobs.life.control import cancel_pending_inputs
from jobs.life.input_tracker import InputStatus
from jobs.life.local_runner import waited_too_long
from jobs.life.outcome import code_of

SAY_S = 10.0


class Standing(Enum):
    """Where a job without a driver stands in one look."""

    IN_LINE = "in line"
    ASIDE = "aside"  # it waits for something else than a place, or is done
    FELL = "fell"  # it has just ended without success


class WaitingStatus:
    """Remembers what it wrote: a hundred rows a second would be much."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._said: dict[tuple[str, int], tuple[str, float]] = {}

    def ended(self, job: JobRow, code: str, message: str, state: str = "FAILED", resumable: bool = False) -> Standing:
        """Ends a job without success, and with it what waits on its behalf alone."""
        with suppress(RecordsError):  # cancelled meanwhile
            self._records.finish(job.id, job.attempt, state, code=code, message=message, resumable=resumable)
            cancel_pending_inputs(self._records, job.id)
            return Standing.FELL
        return Standing.ASIDE

    def refused(self, job: JobRow, decision: Decision) -> Standing:
        """Ends a job that no waiting would help."""
        return self.ended(job, "cannot_fit", f"{job.stage}: it can never run here: it {decision.reason}")

    def waits_for_inputs(self, job: JobRow, found: InputStatus, requirement: Requirement | None) -> Standing:
        """`requirement`: what it asks for, if that was found to fit, which counts later (fitted.py)."""
        blocked: dict[str, Any] = {"kind": "inputs", "reason": found.reason, "blocked_by": list(found.waits_for)}
        if requirement is not None:
            blocked["requirement"] = str(requirement)
        return self._wait(job, blocked, found.reason, None)

    def waits_for_store(self, job: JobRow, url: str, error: StoreUnreachable) -> Standing:
        """Its store does not answer: it waits as long as it may wait for a place."""
        if job.overdue:
            message = f"{job.stage}: it waited {job.wait_s:.0f} s for its store: {error}"
            return self.ended(job, code_of(type(error)), message, resumable=True)
        blocked = {**(job.blocked or {}), "kind": "store", "reason": str(error), "blocked_by": []}
        message = f"waits at most {job.wait_s:.0f} s: its store {url} does not answer"
        return self._wait(job, blocked, message, _deadline(job))

    def waits_for_place(
        self, job: JobRow, decision: Decision, requirement: Requirement, capacity: Capacity
    ) -> Standing:
        """What the line decided: for machines, for bytes, for its turn, or for another that makes the same."""
        counts = decision.kind in ("resources", "nodes", "turn")  # what the time to wait is for
        if counts and job.overdue:
            message = f"{job.stage}: {waited_too_long(job.wait_s, decision)}"
            return self.ended(job, "waited_too_long", message, resumable=True)
        blocked = {
            "kind": decision.kind,
            "reason": decision.reason,
            "requirement": str(requirement),
            "capacity": str(capacity),
            "blocked_by": list(decision.blocked_by),
            "largest_workers": decision.verdict.largest_workers if decision.verdict else None,
        }
        if not counts:
            return self._wait(job, blocked, f"waits: it {decision.reason}", None)
        message = f"waits at most {job.wait_s:.0f} s: it {_short(decision, requirement)}"
        return self._wait(job, blocked, message, _deadline(job))

    def forget(self, held: Collection[tuple[str, int]]) -> None:
        """Forgets all attempts but these."""
        self._said = {key: said for key, said in self._said.items() if key in held}

    def _wait(self, job: JobRow, blocked: dict[str, Any], message: str, deadline: float | None) -> Standing:
        """Writes what a job waits for when that changes, and now and then."""
        key, now = (job.id, job.attempt), time.monotonic()
        said, at = self._said.get(key, ("", -SAY_S))
        if said != message or now - at > SAY_S:
            with suppress(RecordsError):  # cancelled meanwhile
                self._records.wait(job.id, job.attempt, blocked, message, deadline)
                self._said[key] = message, now
        return Standing.ASIDE


def _deadline(job: JobRow) -> float:
    return job.deadline or time.time() + job.wait_s


def _short(decision: Decision, requirement: Requirement) -> str:
    """What a job waits for. The capacity, which changes each second, stands in `blocked`: a message is an event."""
    if decision.kind != "resources":
        return decision.reason
    if decision.blocked_by:
        return f"needs {requirement}; blocked by {', '.join(decision.blocked_by)}"
    return f"needs {requirement}; {decision.verdict.finding if decision.verdict else ''} now, though it fitted before"
