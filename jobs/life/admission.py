"""Which pending jobs start now, which wait and for whom, which never can. Pure: it reads values only.

Jobs are granted in the order of their submission, so none starves. Only a job that needs no GPU may pass one that waits
for a GPU: what it takes, the other does not wait for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from cluster.catalog import JobRow
from configs.requirements import Capacity, Fit, FitResult, Requirement, fit


class Action(Enum):
    """What becomes of a pending job."""

    START = "start"
    WAIT = "wait"
    REFUSE = "refuse"


class Pending(NamedTuple):
    """A pending job whose inputs exist and whose time has come.

    `store`: the store that it writes to, which has `store_free` bytes free; None: as the capacity says, whoever else writes.
    """

    job_id: str
    requirement: Requirement
    outputs: frozenset[str]
    fitted: bool = False  # before
    store: str | None = None
    store_free: int | None = None


class Admitted(NamedTuple):
    """A job that was admitted. The bytes of its requirement are those that it has still to write to `store`."""

    job_id: str
    stage: str
    requirement: Requirement
    outputs: frozenset[str]
    store: str | None = None


class Decision(NamedTuple):
    """What becomes of one job, in words for people, and which jobs block it."""

    job_id: str
    action: Action
    kind: str  # of what it waits for: "resources", "nodes" (that the autoscaler adds), "same_artifact" or "turn"
    reason: str
    blocked_by: tuple[str, ...] = ()
    verdict: FitResult | None = None


def decide(pending: Iterable[Pending], admitted: Sequence[Admitted], capacity: Capacity) -> list[Decision]:
    """Goes through the pending jobs in their order. What it lets start counts for all behind it."""
    granted = list(admitted)
    decisions = []
    passed: dict[bool, str] = {}  # the first that waits for resources, by whether it needs a GPU
    for job in pending:
        decision = _one(job, granted, capacity, passed)
        decisions.append(decision)
        if decision.action is Action.START:
            granted.append(Admitted(job.job_id, "", job.requirement, job.outputs, job.store))
        elif decision.kind == "resources" and decision.verdict is not None and decision.verdict.fit is not Fit.NEVER:
            # A job that waits for a lost node blocks no other: nothing that the others leave unused would help it.
            passed.setdefault(job.requirement.gpus > 0, job.job_id)
    return decisions


def _one(job: Pending, granted: Sequence[Admitted], capacity: Capacity, passed: Mapping[bool, str]) -> Decision:
    if job.store is not None:
        capacity = capacity._replace(store_free=job.store_free)
    verdict = fit(job.requirement, capacity, {other.job_id: other.requirement for other in granted})
    if verdict.fit is Fit.NEVER and job.fitted and _lacks_nodes(job, capacity):
        # A node that went away, for a reboot perhaps, may come back. A store that is too small will be no larger.
        return Decision(job.job_id, Action.WAIT, "resources", f"{verdict.reason}, though it did before", (), verdict)
    if verdict.fit is Fit.NEVER:
        return Decision(
            job.job_id, Action.REFUSE, "resources", f"{verdict.reason}. {verdict.suggestion}", verdict=verdict
        )
    for other in granted:
        if both := sorted(job.outputs & other.outputs):
            reason = f"makes {', '.join(both)}, as {_named(other)} does just now"
            return Decision(job.job_id, Action.WAIT, "same_artifact", reason, (other.job_id,), verdict)
    # A GPU job waits behind any that waits; one without a GPU only behind one without.
    before = passed.get(False) or (passed.get(True) if job.requirement.gpus else None)
    if before is not None and job.requirement.needs_resources():
        reason = f"comes after job {before}, which waits for resources"
        return Decision(job.job_id, Action.WAIT, "turn", reason, (before,), verdict)
    if others := _writers_before(job, granted):
        reason = f"needs {job.requirement}; {capacity}; too much of the store is promised to {', '.join(others)}"
        return Decision(job.job_id, Action.WAIT, "resources", reason, others, verdict)
    if verdict.fit is Fit.NOW:
        return Decision(job.job_id, Action.START, "", verdict.reason, verdict=verdict)
    if verdict.fit is Fit.GROW:  # it blocks no other: the autoscaler adds nodes for all
        return Decision(job.job_id, Action.WAIT, "nodes", verdict.reason, verdict.blocked_by, verdict)
    return Decision(job.job_id, Action.WAIT, "resources", verdict.reason, verdict.blocked_by, verdict)


def _lacks_nodes(job: Pending, capacity: Capacity) -> bool:
    return fit(job.requirement.model_copy(update={"store_bytes": 0}), capacity).fit is Fit.NEVER


def _writers_before(job: Pending, granted: Sequence[Admitted]) -> tuple[str, ...]:
    """Who has still to write so much to its store that too little is left for it; nobody if it has room beside them."""
    if job.store is None or job.store_free is None or not job.requirement.store_bytes:
        return ()
    writers = [other for other in granted if other.store == job.store and other.requirement.store_bytes]
    promised = sum(other.requirement.store_bytes for other in writers)
    return tuple(other.job_id for other in writers) if job.requirement.store_bytes > job.store_free - promised else ()


def _named(job: Admitted) -> str:
    return f"{job.stage} job {job.job_id}" if job.stage else f"job {job.job_id}"


REJOIN_S = 30.0


class NodeLossGrace:
    """Knows it of a job by its row; of one that nobody has looked at yet, by the nodes that were there a moment ago."""

    def __init__(self) -> None:
        self._last: Capacity | None = None
        self._before: Capacity | None = None
        self._since = 0.0

    def update(self, capacity: Capacity, before: Capacity | None) -> None:
        """Takes in a capacity. `before`: the one that the dispatcher before this one wrote, at the first call.

        Where there were more nodes than now, those may rejoin: what fitted then counts for REJOIN_S. So nothing is
        refused because the head, started again, is the first node there; and on a cluster that has lost no node, what
        can never fit is refused at once. How long ago the other dispatcher wrote does not matter: its clock may be wrong, and
        at worst a job waits, saying for what, that might have been refused.
        """
        last = self._last or before
        lost = last is not None and len(last.nodes) > len(capacity.nodes)
        if lost and last is not None and (self._before is None or len(last.nodes) >= len(self._before.nodes)):
            self._before, self._since = last, time.monotonic()
        if self._before is not None and time.monotonic() - self._since >= REJOIN_S:
            self._before = None
        self._last = capacity

    def fitted_before(self, job: JobRow, requirement: Requirement, store_free: int | None) -> bool:
        """True if an attempt of the request was granted, or the job was found to fit: then its row says what it needs."""
        if job.retries > 0 or "requirement" in (job.blocked or {}):
            return True
        if self._before is None:
            return False
        return fit(requirement, self._before._replace(store_free=store_free)).fit is not Fit.NEVER
