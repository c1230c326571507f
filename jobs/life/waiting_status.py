"""What a pass writes into the rows of jobs that it does not start: what they wait for, or why they end."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from enum import Enum
from typing import Any

from cluster.catalog import Catalog, CatalogError, JobRow
from cluster.store import StoreUnreachable
from configs.requirements import Capacity, Requirement
from jobs.life.admission import Decision
from jobs.life.control import cancel_pending_inputs
from jobs.life.input_tracker import InputStatus
from jobs.life.outcome import code_of, shortened

REPEAT_S = 10.0


class Standing(Enum):
    """What one pass found of a job that waits."""

    READY = "ready"  # it waits for resources alone
    NOT_READY = "not ready"  # it waits for something else, or is done
    ENDED = "ended"  # it has just ended without success


class WaitingStatus:
    """Remembers what it wrote: a hundred rows a second would be much.

    `patience_s`: a wait for resources that is over within this time is not written.
    """

    def __init__(self, catalog: Catalog, patience_s: float = 0.0) -> None:
        self._catalog, self._patience_s = catalog, patience_s
        self._written: dict[tuple[str, int], tuple[str, float]] = {}
        self._since: dict[tuple[str, int], float] = {}

    def ended(self, job: JobRow, code: str, message: str, state: str = "FAILED", resumable: bool = False) -> Standing:
        """Ends a job without success, and with it what waits on its behalf alone."""
        with suppress(CatalogError):  # cancelled meanwhile
            self._catalog.finish(
                job.id, job.attempt, state, code=code, message=shortened(message, 499), resumable=resumable
            )
            cancel_pending_inputs(self._catalog, job.id)
            return Standing.ENDED
        return Standing.NOT_READY

    def refused(self, job: JobRow, decision: Decision) -> Standing:
        """Ends a job that no waiting would help."""
        return self.ended(job, "cannot_fit", f"{job.stage}: it can never run here: it {decision.reason}")

    def waits_for_inputs(self, job: JobRow, inputs: InputStatus, requirement: Requirement | None) -> Standing:
        """`requirement`: its requirement, if that was found to fit, which counts later (NodeLossGrace)."""
        blocked: dict[str, Any] = {"kind": "inputs", "reason": inputs.reason, "blocked_by": list(inputs.waits_for)}
        if requirement is not None:
            blocked["requirement"] = str(requirement)
        return self._wait(job, blocked, inputs.reason, None)

    def waits_for_store(self, job: JobRow, url: str, error: StoreUnreachable) -> Standing:
        """Its store does not answer: it waits as long as it may wait for resources."""
        if job.overdue:
            message = f"{job.stage}: it waited {job.wait_s:.0f} s for its store: {error}"
            return self.ended(job, code_of(type(error)), message, resumable=True)
        blocked = {**(job.blocked or {}), "kind": "store", "reason": str(error), "blocked_by": []}
        message = f"waits at most {job.wait_s:.0f} s: its store {url} does not answer"
        return self._wait(job, blocked, message, _deadline(job))

    def waits_for_resources(
        self, job: JobRow, decision: Decision, requirement: Requirement, capacity: Capacity
    ) -> Standing:
        """It waits for machines, for bytes, for its turn, or for another job that makes the same artifact."""
        now = time.monotonic()
        if now - self._since.setdefault((job.id, job.attempt), now) < min(self._patience_s, job.wait_s):
            return Standing.NOT_READY
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

    def restart_patience(self) -> None:
        """What waits now waits for something else than resources."""
        self._since.clear()

    def forget(self, attempts: Collection[tuple[str, int]]) -> None:
        """Forgets all attempts but these."""
        self._written = {key: written for key, written in self._written.items() if key in attempts}
        self._since = {key: since for key, since in self._since.items() if key in attempts}

    def _wait(self, job: JobRow, blocked: dict[str, Any], message: str, deadline: float | None) -> Standing:
        """Writes what a job waits for when that changes, and now and then."""
        key, now = (job.id, job.attempt), time.monotonic()
        written, at = self._written.get(key, ("", -REPEAT_S))
        if written != message or now - at > REPEAT_S:
            with suppress(CatalogError):  # cancelled meanwhile
                self._catalog.wait(job.id, job.attempt, blocked, message, deadline)
                self._written[key] = message, now
        return Standing.NOT_READY


def _deadline(job: JobRow) -> float:
    return job.deadline or time.time() + job.wait_s


def _short(decision: Decision, requirement: Requirement) -> str:
    """What a job waits for. The capacity, which changes each second, is written to `blocked` alone: a message is an event."""
    if decision.kind != "resources":
        return decision.reason
    if decision.blocked_by:
        return f"needs {requirement}; blocked by {', '.join(decision.blocked_by)}"
    return f"needs {requirement}; {decision.verdict.finding if decision.verdict else ''} now, though it fitted before"


def waited_too_long(waited: float, decision: Decision) -> str:
    """The message of a job whose time to wait is over."""
    return (
        f"it waited {waited:.0f} s for its turn: it {decision.reason}. "
        "Run it again when they have finished, or let it wait longer with --wait SECONDS"
    )
