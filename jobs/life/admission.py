"""The gate: may a job start now, later or never? It looks and records; placing the work is Ray's."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.records import JobRow
from configs.profiles import requirement_for
from configs.requirements import Fit, Offer, Requirement, Verdict, fit
from jobs.life.resolve import Step
from jobs.life.session import Session
from jobs.stages import stage_module

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
    tell = getattr(stage_module(step.stage), "store_bytes", None)
    if tell is None or any(session.store.manifest(ref) is None for refs in step.inputs.values() for ref in refs):
        return need
    # What earlier attempts finished is written already.
    written = sum(file.size for output in step.outputs for file, _ in session.store.parts(output.ref).values())
    left = max(0, int(tell(step.config, step.inputs, session.store)) - written)
    return need.model_copy(update={"store_bytes": left})


def check_ever(session: Session, step: Step, need: Requirement) -> None:
    """Raises CannotFit if no amount of waiting would help."""
    if not _asks_for_machines(need):
        return
    offer = session.offer()
    verdict = fit(need, offer)
    if verdict.fit is Fit.NEVER:
        raise CannotFit(f"it can never run here: it {verdict.reason}. {_advice(need, offer, verdict)}")


def admit(session: Session, step: Step, need: Requirement, job_id: str, attempt: int) -> bool:
    """Waits until the job fits, then makes it RUNNING. False if it was asked to stop while it waited.

    Raises CannotFit, or WaitedTooLong after the session's `wait` seconds.
    """
    began = time.monotonic()
    waiting = False
    while not session.stop():
        verdict = _try(session, step, need, job_id, attempt)
        if verdict is None:
            return not session.stop()
        waited = time.monotonic() - began
        if waited > max(session.wait, GRACE_SECONDS if session.wait else 0):
            raise WaitedTooLong(
                f"it waited {waited:.0f} s for its turn: it {verdict.reason}; held by {_holders(session)}. "
                "Run it again when they have finished, or let it wait longer with --wait SECONDS"
            )
        if not waiting and waited > GRACE_SECONDS:
            waiting = True
            message = f"waits at most {session.wait:.0f} s: it {verdict.reason}; held by {_holders(session)}"
            session.records.progress(job_id, attempt, state="WAITING", message=message)
            session.say(f"{step.stage:<9} {message}")
        elif waiting:
            session.records.progress(job_id, attempt)
        if session.records.cancel_requested(job_id, attempt):
            session.stop.set()
        session.stop.wait(POLL_SECONDS)
    return False


def _try(session: Session, step: Step, need: Requirement, job_id: str, attempt: int) -> Verdict | None:
    """None once the job is RUNNING. Looking and granting are one step for all drivers of this home."""
    if not _asks_for_machines(need):
        session.records.progress(job_id, attempt, state="RUNNING")
        return None
    with _gate(session.home):
        if shared := _made_already(session, step):
            return shared
        offer = session.offer()
        verdict = fit(need, offer)
        if verdict.fit is Fit.NEVER:
            raise CannotFit(f"it can never run here: it {verdict.reason}. {_advice(need, offer, verdict)}")
        if verdict.fit is Fit.NOW and _leaves_room(need, offer, _running(session)):
            session.records.progress(job_id, attempt, state="RUNNING")
            return None
        return verdict


def _made_already(session: Session, step: Step) -> Verdict | None:
    """Of two different jobs that make one artifact (an SAE, alone or with others), the second waits for the first.

    What it then finds finished it does not do again.
    """
    wanted = {str(output.ref) for output in step.outputs}
    for row in session.records.jobs(states=["RUNNING", "CANCELLING"]):
        # A pipeline has its stages' artifacts made by their own jobs, of which this may be one.
        if row.fingerprint == step.fingerprint or row.stage == "pipeline":
            continue
        if (both := wanted & set(row.outputs)) and session.records.silent(row.id) is None:
            return Verdict(Fit.LATER, f"makes {', '.join(sorted(both))}, as {row.stage} job {row.id} does just now", 0)
    return None


def _leaves_room(need: Requirement, offer: Offer, running: Sequence[JobRow]) -> bool:
    """A job that has just been let in may not have taken its place yet: what it was granted counts all the same."""
    known = Requirement.model_fields
    granted = [Requirement.model_validate({k: v for k, v in row.requirement.items() if k in known}) for row in running]
    cpus = sum(node.cpus for node in offer.nodes) - sum(g.workers * g.cpus for g in granted)
    gpus = sum(node.gpus for node in offer.nodes) - sum(g.workers * g.gpus for g in granted)
    return need.workers * need.cpus <= cpus + 1e-9 and need.workers * need.gpus <= gpus + 1e-9


def _running(session: Session) -> list[JobRow]:
    """Jobs that hold machines of this cluster. One whose process is gone holds nothing: its workers died with it."""
    rows = session.records.jobs(states=["RUNNING", "CANCELLING"])
    here = [row for row in rows if row.requirement.get("cluster") == session.cluster]
    return [row for row in here if session.records.silent(row.id) is None]


def _holders(session: Session) -> str:
    running = [row for row in _running(session) if row.stage != "pipeline"]
    return ", ".join(f"{row.stage} job {row.id}" for row in running) or "work that is not in this catalog"


def _asks_for_machines(need: Requirement) -> bool:
    return bool(need.cpus or need.gpus or need.memory or need.store_bytes)


def _advice(need: Requirement, offer: Offer, verdict: Verdict) -> str:
    if offer.store_free is not None and need.store_bytes > offer.store_free:
        return "Make room there, or set RAYLENS_STORE to a larger place"
    if verdict.largest_workers > 0:
        return f"At most {verdict.largest_workers} such worker(s) fit: set resources.workers, or ask for less a worker"
    return "Not even one such worker fits: set resources.cpus, .gpus, .memory or .labels, or add a node"


@contextmanager
def _gate(home: Path) -> Iterator[None]:
    with (home / "gate.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
