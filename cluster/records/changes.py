"""Steps inside one transaction on a job's row."""

from __future__ import annotations

import secrets
import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from cluster.records.errors import RecordsError, StaleAttempt
from cluster.records.process import Driver
from cluster.records.rows import Submission
from cluster.records.states import ENDED, LIVE, State, check_move
from cluster.records.tables import Attempt, Event, Job

# A driver on another host cannot be looked at. It beats at least once a minute; after this long it is taken for lost.
SILENCE_S = 900.0


def job_of(session: Session, job_id: str) -> Job:
    """The job's row, locked if the transaction writes. Raises RecordsError if there is none."""
    job = session.scalars(select(Job).where(Job.id == job_id).with_for_update()).one_or_none()
    if job is None:
        raise RecordsError(f"there is no job {job_id!r} in the catalog")
    return job


def held(session: Session, job_id: str, attempt: int) -> Job:
    """The job's row if `attempt` holds it and it has not ended; else raises StaleAttempt."""
    job = job_of(session, job_id)
    if job.attempt != attempt:
        raise StaleAttempt(f"attempt {attempt} of job {job_id} no longer holds it: attempt {job.attempt} does")
    if job.state in ENDED:
        raise StaleAttempt(f"job {job_id} has ended ({job.state}): attempt {attempt} can change nothing any more")
    return job


def attempt_of(session: Session, job: Job) -> Attempt:
    """The attempt that holds a job."""
    return session.get_one(Attempt, (job.id, job.attempt))


def silent(attempt: Attempt, now: float) -> str | None:
    """Why an attempt's driver must be taken for dead; None if it lives, or may live."""
    driver = Driver(attempt.host, attempt.pid, attempt.process)
    if driver.here():
        return f"its process {driver.pid} on {driver.host} is gone" if driver.gone() else None
    quiet = now - attempt.heartbeat
    return f"its host {driver.host} has been silent for {quiet:.0f} s" if quiet > SILENCE_S else None


def new_job(stage: str, fingerprint: str, values: dict[str, Any], created_by: str, now: float) -> Job:
    """A job's first row, QUEUED."""
    return Job(
        id=f"{stage}-{secrets.token_hex(5)}",
        stage=stage,
        fingerprint=fingerprint,
        created_by=created_by,
        created_at=now,
        updated_at=now,
        attempt=1,
        state=State.QUEUED,
        last_event=0,
        **values,
    )


def next_attempt(job: Job, values: dict[str, Any]) -> None:
    """Takes an ended job to its next attempt, QUEUED, with the resources that are asked for now."""
    job.attempt += 1
    job.state = State.QUEUED
    job.updated_at = time.time()
    job.retryable = job.resumable = False
    for name in ("cancel", "done", "total", "unit", "rate", "message", "code"):
        setattr(job, name, None)
    for name, value in values.items():
        setattr(job, name, value)


def move(session: Session, job: Job, new: State, *, code: str | None = None, message: str | None = None) -> None:
    """Moves a job and the attempt that holds it, and writes the event. Raises IllegalMove."""
    check_move(job.id, State(job.state), new)
    attempt = attempt_of(session, job)
    job.state = attempt.state = new
    job.updated_at = time.time()
    if new in ENDED:
        attempt.ended_at = job.updated_at
        job.code = attempt.code = code
        attempt.message = message
    if message is not None:
        job.message = message
    event(session, job, "state", message)


def event(session: Session, job: Job, kind: str, message: str | None) -> None:
    """Adds the job's next event. The caller has the job's row locked, so numbers appear in order."""
    job.last_event += 1
    session.add(
        Event(
            job_id=job.id,
            number=job.last_event,
            attempt=job.attempt,
            at=time.time(),
            kind=kind,
            state=job.state,
            message=message,
        )
    )


def answer(session: Session, job: Job, created: bool, lost: int | None) -> Submission:
    """What a submitter is told about a job."""
    attempt = attempt_of(session, job)
    return Submission(
        job_id=job.id,
        attempt=job.attempt,
        state=State(job.state),
        created=created,
        outputs=list(job.outputs),
        host=attempt.host,
        live_pid=attempt.pid if job.state in LIVE else None,
        silent_s=max(0.0, time.time() - attempt.heartbeat),
        lost=lost,
    )
