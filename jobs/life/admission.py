"""The gate: may a job start now, later or never? It looks and records; placing the work is Ray's."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.profiles import requirement_for
from configs.requirements import Fit, Requirement, fit
from configs.stages import STAGES
from jobs.life.grant_policy import Decision, Do, Holding, Waiting, decide
from jobs.life.resolve import Step
from jobs.life.resource_demand import requirement_in, with_bytes
from jobs.life.session import Session

POLL_SECONDS = 0.5
# Ray takes a moment to give back what the stage before held; only what lasts longer than this is waiting.
GRACE_SECONDS = 3.0


class CannotFit(RuntimeError):
    """The job can never run on this cluster. Names the need, the offer and the most that would fit."""


class WaitedTooLong(RuntimeError):
    """The job fits, but not within the time that it may wait. Names the need, what is free and who holds the rest."""


def requirement_of(session: Session, step: Step) -> Requirement:
    """What a step asks for: the profile's word, the config's over it, and the bytes it will write if it can tell."""
    need = requirement_for(step.config, session.profile)
    return with_bytes(need, session.store, step.config, step.inputs, [output.ref for output in step.outputs])


def check_ever(session: Session, need: Requirement) -> None:
    """Raises CannotFit if no amount of waiting would help."""
    if not _asks(need):
        return
    verdict = fit(need, session.offer())
    if verdict.fit is Fit.NEVER:
        raise CannotFit(f"it can never run here: it {verdict.reason}. {verdict.advice}")


def admit(session: Session, step: Step, need: Requirement, job_id: str, attempt: int) -> bool:
    """Waits until the job fits, then makes it RUNNING. False if it was asked to stop while it waited.

    Raises CannotFit, or WaitedTooLong after the session's `wait` seconds.
    """
    began = time.monotonic()
    waiting = False
    while not session.stop():
        decision = _try(session, step, need, job_id, attempt)
        if decision is None:
            return not session.stop()
        waited = time.monotonic() - began
        if waited > max(session.wait, GRACE_SECONDS if session.wait else 0):
            raise WaitedTooLong(waited_too_long(waited, decision))
        if not waiting and waited > GRACE_SECONDS:
            waiting = True
            message = f"waits at most {session.wait:.0f} s: it {decision.reason}"
            session.records.progress(job_id, attempt, state="WAITING", message=message)
            session.say(f"{step.stage:<9} {message}")
        elif waiting:
            session.records.progress(job_id, attempt)
        if session.records.cancel_requested(job_id, attempt):
            session.stop.set()
        session.stop.wait(POLL_SECONDS)
    return False


def waited_too_long(waited: float, decision: Decision) -> str:
    """What to say of a job whose time to wait is over."""
    return (
        f"it waited {waited:.0f} s for its turn: it {decision.reason}. "
        "Run it again when they have finished, or let it wait longer with --wait SECONDS"
    )


def _try(session: Session, step: Step, need: Requirement, job_id: str, attempt: int) -> Decision | None:
    """None once the job is RUNNING. Looking and granting are one step for all drivers of this home."""
    if not _asks(need):
        session.records.progress(job_id, attempt, state="RUNNING")
        return None
    with _gate(session.home):
        # Of two different jobs that make one artifact (an SAE, alone or with others), the second waits for the first.
        # What it then finds finished it does not do again.
        waiting = Waiting(job_id, need, frozenset(str(output.ref) for output in step.outputs))
        (decision,) = decide([waiting], _holding(session, job_id), session.offer())
        if decision.do is Do.REFUSE:
            raise CannotFit(f"it can never run here: it {decision.reason}")
        if decision.do is Do.START:
            session.records.progress(job_id, attempt, state="RUNNING")
            return None
        return decision


def _holding(session: Session, job_id: str) -> list[Holding]:
    """Jobs that run. One whose process is gone holds nothing: its workers died with it.

    On another cluster it holds no machine of this one, but what it makes counts all the same.
    """
    held = []
    for row, attempt in session.records.live():
        runs = row.state in ("RUNNING", "CANCELLING") or attempt.granted_at is not None
        # A pipeline has its stages' artifacts made by their own jobs, of which this may be one.
        if row.id == job_id or not runs or STAGES[row.stage].runs_inputs or session.records.dead_driver(attempt):
            continue
        here = session.cluster in (row.requirement.get("cluster"), attempt.cluster)
        need = requirement_in(row.requirement) if here else Requirement(cpus=0)
        held.append(Holding(row.id, row.stage, need, frozenset(row.outputs)))
    return held


def _asks(need: Requirement) -> bool:
    return need.asks_for_machines() or bool(need.store_bytes)


@contextmanager
def _gate(home: Path) -> Iterator[None]:
    with (home / "gate.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
