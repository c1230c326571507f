"""Steps inside one transaction on a job's row."""

from __future__ import annotations

import secrets
import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from cluster.catalog.boot_clock import Anchor
from cluster.catalog.change_timer import ChangeTimer
from cluster.catalog.errors import NotFound, StaleAttempt
from cluster.catalog.job_tables import AttemptRow, EventRow, JobRow
from cluster.catalog.states import ENDED, State, check_move
from cluster.catalog.transactions import add_event, next_number
from cluster.process_identity import ProcessId

# A driver on another host cannot be looked at. It beats at least once a minute; one that has not been seen to for this
# long, by the clock of the process that watches it, is taken for lost.
SILENCE_S = 900.0


def job_of(session: Session, job_id: str, lock: bool = True) -> JobRow:
    """The job's row; locked, unless the transaction only reads. Raises NotFound if there is none."""
    query = select(JobRow).where(JobRow.id == job_id)
    # Not the whole row's lock: a job whose parent this is may be added meanwhile.
    job = session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()
    if job is None:
        raise NotFound(f"there is no job {job_id!r} in the catalog")
    return job


def live_job(session: Session, job_id: str, attempt: int) -> JobRow:
    """The job's row if `attempt` holds it and it has not ended; else raises StaleAttempt."""
    job = current_job(session, job_id, attempt)
    if job.state in ENDED:
        raise StaleAttempt(f"job {job_id} has ended ({job.state}): attempt {attempt} can change nothing any more")
    return job


def current_job(session: Session, job_id: str, attempt: int) -> JobRow:
    """The job's row if `attempt` is its last, ended or not; else raises StaleAttempt."""
    job = job_of(session, job_id)
    if job.attempt != attempt:
        raise StaleAttempt(f"attempt {attempt} of job {job_id} no longer holds it: attempt {job.attempt} does")
    return job


def attempt_of(session: Session, job: JobRow) -> AttemptRow:
    """The attempt that holds a job."""
    return session.get_one(AttemptRow, (job.id, job.attempt))


def dead_driver(attempt: AttemptRow, changes: ChangeTimer) -> str | None:
    """Why an attempt's driver must be taken for dead; None if it lives, or may live, or if there is none yet."""
    if attempt.host is None or attempt.pid is None or attempt.process is None:
        return None
    driver = ProcessId(attempt.host, attempt.pid, attempt.process)
    if driver.on_this_host():
        return f"its process {driver.pid} on {driver.host} is gone" if driver.has_ended() else None
    quiet = changes.unchanged_s(("attempt", attempt.job_id, attempt.number), attempt.heartbeat)
    return f"its host {driver.host} has been silent for {quiet:.0f} s" if quiet > SILENCE_S else None


def waits_here(attempt: AttemptRow) -> bool:
    """True while an attempt waits to be granted to this process, which submitted its job to drive it itself."""
    if attempt.host is None or attempt.pid is None or attempt.granted_at is not None:
        return False
    driver = ProcessId(attempt.host, attempt.pid, attempt.process or "")
    return attempt.state in (State.QUEUED, State.WAITING) and driver == ProcessId.current()


def new_job(session: Session, stage: str, fingerprint: str, values: dict[str, Any]) -> JobRow:
    """A job's first row, QUEUED."""
    now = time.time()
    job = JobRow(
        id=f"{stage}-{secrets.token_hex(5)}",
        seq=next_number(session, "jobs"),
        stage=stage,
        fingerprint=fingerprint,
        created_at=now,
        updated_at=now,
        attempt=1,
        state=State.QUEUED,
        last_event=0,
        tags=[],
        durable_by_phase={},
        **values,
    )
    session.add(job)
    session.flush()
    return job


def next_attempt(job: JobRow, values: dict[str, Any]) -> None:
    """Takes an ended job to its next attempt, QUEUED, with the resources that are asked for now."""
    job.attempt += 1
    job.state = State.QUEUED
    job.updated_at = time.time()
    job.retryable = job.resumable = False
    for name in (
        "cancel", "done", "total", "unit", "rate", "message", "code", "blocked", "waiting_since", "deadline", "retry_at",
    ):  # fmt: skip
        setattr(job, name, None)
    for name, value in values.items():
        setattr(job, name, value)


def try_again(session: Session, job: JobRow, at: float, message: str) -> None:
    """Takes a job that has just FAILED or was LOST to its next attempt, which is not to start before `at`."""
    next_attempt(job, {})
    anchor(job)
    message = f"attempt {job.attempt} starts in {max(0.0, at - time.time()):.0f} s, after: {message}"
    job.retry_at, job.message = at, message
    job.retries += 1
    begin_attempt(session, job, None, message)


def forget_retries(job: JobRow) -> None:
    """Earlier failures do not count against a job that somebody submits again."""
    job.retries = 0
    job.phase = job.durable = None
    job.durable_by_phase = {}


def begin_attempt(session: Session, job: JobRow, driver: ProcessId | None, message: str | None = None) -> None:
    """Adds the attempt that now holds a job, driven by a process or by none yet, and the event."""
    now = time.time()
    process = {} if driver is None else {**driver._asdict(), "heartbeat": now}
    session.add(AttemptRow(job_id=job.id, number=job.attempt, state=State.QUEUED, started_at=now, **process))
    session.flush()
    event(session, job, "state", message or f"attempt {job.attempt}")


def anchor(job: JobRow) -> None:
    """Ties the row's times to the wall clock as it is set now, before one of them is written.

    Those in the row already are converted to this clock if theirs was of the same boot.
    """
    here, there = Anchor.here(), Anchor(job.clock_boot, job.clock_ahead)
    if here.boot is not None and here.boot == there.boot:
        for name in ("waiting_since", "deadline", "retry_at"):
            if (at := getattr(job, name)) is not None:
                setattr(job, name, at + here.ahead - there.ahead)
    job.clock_boot, job.clock_ahead = here


def move(session: Session, job: JobRow, new: State, *, code: str | None = None, message: str | None = None) -> None:
    """Moves a job and the attempt that holds it, and writes the event. Raises IllegalMove."""
    check_move(job.id, State(job.state), new)
    attempt = attempt_of(session, job)
    job.state = attempt.state = new
    job.updated_at = time.time()
    if new == State.RUNNING:
        unblock(job)
    if new == State.WAITING:
        if job.deadline is None and job.retry_at is None:
            anchor(job)
        job.waiting_since = Anchor(job.clock_boot, job.clock_ahead).now()
    if new == State.SUCCEEDED and job.total is not None:
        job.done = job.total  # nobody reports the last unit
    if new in ENDED:
        attempt.ended_at = job.updated_at
        job.code = attempt.code = code
        attempt.message = message
    if message is not None or new in (State.RUNNING, State.SUCCEEDED):  # what kept it waiting, or failed, is over
        job.message = message
    event(session, job, "state", message)


def unblock(job: JobRow) -> None:
    """Nothing blocks the job any more. What blocked one that failed stays for people to read."""
    job.blocked = job.waiting_since = job.deadline = job.retry_at = None


def lose(session: Session, job: JobRow, code: str, message: str) -> None:
    """The process that drove a job is gone."""
    move(session, job, State.LOST, code=code, message=message)
    job.retryable = job.resumable = True


def event(session: Session, job: JobRow, kind: str, message: str | None, data: dict[str, Any] | None = None) -> None:
    """Adds the job's next event. The caller has the job's row locked, so numbers appear in order."""
    job.last_event += 1
    add_event(
        session,
        EventRow(
            job_id=job.id,
            number=job.last_event,
            attempt=job.attempt,
            at=time.time(),
            kind=kind,
            state=job.state,
            message=message,
            data=data,
        ),
    )
