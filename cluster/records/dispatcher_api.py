"""What the dispatcher calls: which jobs wait, which live, and what becomes of them."""

from __future__ import annotations

import time
from typing import Any, Literal

from sqlalchemy import and_, select

from cluster.records.errors import IllegalMove, StaleAttempt
from cluster.records.job_transitions import (
    anchor,
    attempt_of,
    event,
    held,
    job_of,
    lose,
    move,
    pending,
    silent,
    try_again,
    unblock,
)
from cluster.records.rows import AttemptRow, JobRow, attempt_row, job_row
from cluster.records.states import ENDED, State
from cluster.records.tables import IS_LIVE, Attempt, Job
from cluster.records.transactions import Transactions

_HELD = and_(Attempt.job_id == Job.id, Attempt.number == Job.attempt)


class Dispatching(Transactions):
    """pending, live, wait, grant, lose, request_cancel."""

    def pending(self) -> list[JobRow]:
        """Jobs that nobody has been let in to drive yet, in the order in which they were submitted."""
        query = (
            select(Job)
            .join(Attempt, _HELD)
            .where(
                IS_LIVE,
                Job.state.in_([State.QUEUED, State.WAITING]),
                Attempt.host.is_(None),
                Attempt.granted_at.is_(None),
            )
            .order_by(Job.seq)
        )
        with self._read() as session:
            return [job_row(job) for job in session.scalars(query)]

    def live(self) -> list[tuple[JobRow, AttemptRow]]:
        """All live jobs, each with the attempt that holds it, in the order in which they were submitted."""
        query = select(Job, Attempt).join(Attempt, _HELD).where(IS_LIVE).order_by(Job.seq)
        with self._read() as session:
            return [(job_row(job), attempt_row(attempt)) for job, attempt in session.execute(query)]

    def dead_driver(self, attempt: AttemptRow) -> str | None:
        """Why an attempt's driver must be taken for dead; None if it lives, or may live, or if there is none yet.

        Asks no database. A process of this host is looked at; one of another host is taken for dead after this value
        of Records has seen it renew nothing for a quarter of an hour, so it is to be asked again and again.
        """
        return silent(attempt, self._changes)

    def wait(
        self, job_id: str, attempt: int, blocked: dict[str, Any], message: str, deadline: float | None = None
    ) -> None:
        """Says why a job that was not granted yet waits, and until when it may.

        The job becomes WAITING, unless it waits for its inputs (`blocked["kind"]` is "inputs"). A message that it has
        not said before becomes an event. Raises StaleAttempt if the attempt was given up, granted, or runs.
        """
        with self._write() as session:
            job = held(session, job_id, attempt)
            if job.state not in (State.QUEUED, State.WAITING) or attempt_of(session, job).granted_at is not None:
                raise StaleAttempt(
                    f"attempt {attempt} of job {job_id} waits no more: it was granted, or is {job.state}"
                )
            if deadline != job.deadline:
                anchor(job)
                job.deadline = deadline
            job.updated_at = time.time()
            said, job.blocked = job.message, blocked
            if job.state == State.QUEUED and blocked.get("kind") != "inputs":
                move(session, job, State.WAITING, message=message)
            elif message != said:
                job.message = message
                event(session, job, "log", message, {"blocked": blocked})

    def grant(self, job_id: str, attempt: int, ray_job: str, cluster: str) -> None:
        """Lets one process in to drive an attempt: the Ray job `ray_job` of `cluster`.

        Raises StaleAttempt if the attempt was given up or has ended, IllegalMove if it does not wait to be granted.
        """
        with self._write() as session:
            job = held(session, job_id, attempt)
            row = attempt_of(session, job)
            if not pending(job, row):
                held_by = f"is {job.state}" if row.host is None else f"has a driver, process {row.pid} on {row.host}"
                raise IllegalMove(f"attempt {attempt} of job {job_id} cannot be granted: it {held_by}")
            row.granted_at = job.updated_at = time.time()
            row.ray_job, row.cluster = ray_job, cluster
            unblock(job)
            event(session, job, "log", f"granted: it starts as {ray_job}", {"ray_job": ray_job, "cluster": cluster})

    def lose(self, job_id: str, attempt: int, code: str, message: str, retry_at: float | None = None) -> None:
        """Moves a live job to LOST: what drove it is gone. With `retry_at`, its next attempt is begun in the same step.

        Raises StaleAttempt if the attempt was given up, or ended.
        """
        with self._write() as session:
            job = held(session, job_id, attempt)
            lose(session, job, code, message)
            if retry_at is not None:
                try_again(session, job, retry_at, message)

    def request_cancel(self, job_id: str, how: Literal["stop", "cancel"] = "cancel") -> JobRow:
        """Asks a live job to end; its driver obeys. A 'stop' can become a 'cancel', not the other way round.

        A job that nobody was let in to drive yet is CANCELLED at once; one whose driver's process is gone is LOST.
        Raises IllegalMove if the job has ended.
        """
        if how not in ("stop", "cancel"):
            raise ValueError(f"a job is asked to 'stop' or to 'cancel', not to {how!r}")
        with self._write() as session:
            job = job_of(session, job_id)
            if job.state in ENDED:
                raise IllegalMove(f"job {job_id} is {job.state} already: there is nothing to {how}")
            attempt = attempt_of(session, job)
            if pending(job, attempt):
                job.cancel, job.resumable = how, True
                message = f"{how} requested before it started"
                move(session, job, State.CANCELLED, code="stopped" if how == "stop" else "cancelled", message=message)
            elif why := silent(attempt, self._changes):
                lose(session, job, "driver_gone", why)
            else:
                job.cancel = "cancel" if "cancel" in (how, job.cancel) else "stop"
                if job.state != State.CANCELLING:
                    move(session, job, State.CANCELLING, message=f"{how} requested")
            return job_row(job)
