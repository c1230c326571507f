"""The line of waiting jobs: who starts now, who waits and for whom, who never can. Pure: it looks at values only.

Jobs are granted in the order of their submission, so none starves. Only a job that needs no GPU may pass one that waits
for a GPU: what it takes, the other does not wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from configs.requirements import Fit, Offer, Requirement, Verdict, fit


class Do(Enum):
    """What becomes of a job in the line."""

    START = "start"
    WAIT = "wait"
    REFUSE = "refuse"


class Waiting(NamedTuple):
    """A job in the line: its inputs are there and it is time.

    `store`: the store that it writes to, which has `store_free` bytes free; None: as the offer says, whoever else writes.
    """

    job_id: str
    need: Requirement
    outputs: frozenset[str]
    fitted: bool = False  # before
    store: str | None = None
    store_free: int | None = None


class Holding(NamedTuple):
    """A job that holds a grant. The bytes of its need are those that it has still to write to `store`."""

    job_id: str
    stage: str
    need: Requirement
    outputs: frozenset[str]
    store: str | None = None


class Decision(NamedTuple):
    """What becomes of one job, in words for people, and who stands in its way."""

    job_id: str
    do: Do
    kind: str  # of what it waits for: "resources", "nodes" (that the autoscaler adds), "same_artifact" or "turn"
    reason: str
    holders: tuple[str, ...] = ()
    verdict: Verdict | None = None


def decide(line: Iterable[Waiting], holding: Sequence[Holding], offer: Offer) -> list[Decision]:
    """Goes through the line in its order. What it lets start counts for all behind it."""
    granted = list(holding)
    decisions = []
    passed: dict[bool, str] = {}  # the first that waits for its place, by whether it needs a GPU
    for job in line:
        decision = _one(job, granted, offer, passed)
        decisions.append(decision)
        if decision.do is Do.START:
            granted.append(Holding(job.job_id, "", job.need, job.outputs, job.store))
        elif decision.kind == "resources" and decision.verdict is not None and decision.verdict.fit is not Fit.NEVER:
            # Whoever waits for a node that went away holds nobody back: nothing that others leave alone would help it.
            passed.setdefault(job.need.gpus > 0, job.job_id)
    return decisions


def _one(job: Waiting, granted: Sequence[Holding], offer: Offer, passed: Mapping[bool, str]) -> Decision:
    if job.store is not None:
        offer = offer._replace(store_free=job.store_free)
    verdict = fit(job.need, offer, {other.job_id: other.need for other in granted})
    if verdict.fit is Fit.NEVER and job.fitted:  # a node that went away, for a reboot perhaps, may come back
        return Decision(job.job_id, Do.WAIT, "resources", f"{verdict.reason}, though it did before", (), verdict)
    if verdict.fit is Fit.NEVER:
        return Decision(job.job_id, Do.REFUSE, "resources", f"{verdict.reason}. {verdict.advice}", verdict=verdict)
    for other in granted:
        if both := sorted(job.outputs & other.outputs):
            reason = f"makes {', '.join(both)}, as {_named(other)} does just now"
            return Decision(job.job_id, Do.WAIT, "same_artifact", reason, (other.job_id,), verdict)
    # A GPU job waits behind any that waits; one without a GPU only behind one without.
    before = passed.get(False) or (passed.get(True) if job.need.gpus else None)
    if before is not None and job.need.asks_for_machines():
        reason = f"comes after job {before}, which waits for its place"
        return Decision(job.job_id, Do.WAIT, "turn", reason, (before,), verdict)
    if others := _writers_before(job, granted):
        reason = f"needs {job.need}; {offer}; too much of the store is promised to {', '.join(others)}"
        return Decision(job.job_id, Do.WAIT, "resources", reason, others, verdict)
    if verdict.fit is Fit.NOW:
        return Decision(job.job_id, Do.START, "", verdict.reason, verdict=verdict)
    if verdict.fit is Fit.GROW:  # it holds nobody back: the autoscaler adds nodes for all that it is asked for
        return Decision(job.job_id, Do.WAIT, "nodes", verdict.reason, verdict.holders, verdict)
    return Decision(job.job_id, Do.WAIT, "resources", verdict.reason, verdict.holders, verdict)


def _writers_before(job: Waiting, granted: Sequence[Holding]) -> tuple[str, ...]:
    """Who has still to write so much to its store that too little is left for it; nobody if it has room beside them."""
    if job.store is None or job.store_free is None or not job.need.store_bytes:
        return ()
    writers = [other for other in granted if other.store == job.store and other.need.store_bytes]
    promised = sum(other.need.store_bytes for other in writers)
    return tuple(other.job_id for other in writers) if job.need.store_bytes > job.store_free - promised else ()


def _named(holding: Holding) -> str:
    return f"{holding.stage} job {holding.job_id}" if holding.stage else f"job {holding.job_id}"
