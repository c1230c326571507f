"""What the dispatcher calls: which jobs wait, which live, and what becomes of them."""

from __future__ import annotations

import time
from typing import Any, Literal

from sqlalchemy import and_, select

from cluster.catalog.errors import IllegalMove, StaleAttempt
from cluster.catalog.job_tables import IS_LIVE, AttemptRow, JobRow
from cluster.catalog.job_transitions import (
    anchor,
    attempt_of,
    dead_driver,
    event,
    job_of,
    live_job,
    lose,
    move,
    try_again,
    unblock,
    waits_here,
)
from cluster.catalog.states import ENDED, State
from cluster.catalog.transactions import Transactions

_LATEST = and_(AttemptRow.job_id == JobRow.id, AttemptRow.number == JobRow.attempt)


class DispatcherApi(Transactions):
    """What the dispatcher does with live jobs; `request_cancel` is for everybody."""

    def live(self) -> list[tuple[JobRow, AttemptRow]]:
        """All live jobs, each with the attempt that holds it, in the order in which they were submitted."""
        query = select(JobRow, AttemptRow).join(AttemptRow, _LATEST).where(IS_LIVE).order_by(JobRow.seq)
        with self._read() as session:
            return [(job, attempt) for job, attempt in session.execute(query)]

    def dead_driver(self, attempt: AttemptRow) -> str | None:
        """Why an attempt's driver must be taken for dead; None if it lives, or may live, or if there is none yet.

        Asks no database. A process of this host is looked at; one of another host is taken for dead after this value
        of Catalog has seen it renew nothing for a quarter of an hour, so it is to be asked again and again.
        """
        return dead_driver(attempt, self._changes)

    def wait(
        self, job_id: str, attempt: int, blocked: dict[str, Any], message: str, deadline: float | None = None
    ) -> None:
        """Says why a job that was not granted yet waits, and until when it may.

        The job becomes WAITING, unless it waits for its inputs (`blocked["kind"]` is "inputs"). A new message becomes an
        event. Raises StaleAttempt if the attempt was given up, granted, or runs.
        """
        with self._write() as session:
            job = live_job(session, job_id, attempt)
            if job.state not in (State.QUEUED, State.WAITING) or attempt_of(session, job).granted_at is not None:
                raise StaleAttempt(
                    f"attempt {attempt} of job {job_id} waits no more: it was granted, or is {job.state}"
                )
            if deadline != job.deadline:
                anchor(job)
                job.deadline = deadline
            job.updated_at = time.time()
            row = attempt_of(session, job)
            if row.host is not None:  # a command waits with its own job
                row.heartbeat = job.updated_at
            before, job.blocked = job.message, blocked
            if job.state == State.QUEUED and blocked.get("kind") != "inputs":
                move(session, job, State.WAITING, message=message)
            elif message != before:
                job.message = message
                event(session, job, "log", message, {"blocked": blocked})

    def grant(self, job_id: str, attempt: int, ray_job: str | None, cluster: str) -> None:
        """Lets one process in to drive an attempt: the Ray job `ray_job` of `cluster`.

        `ray_job` None: this process, which submitted the job to drive it itself; the job is RUNNING then.
        Raises StaleAttempt if the attempt was given up or has ended, IllegalMove if it does not wait to be granted.
        """
        with self._write() as session:
            job = live_job(session, job_id, attempt)
            row = attempt_of(session, job)
            if not (row.pending if ray_job is not None else waits_here(row)):
                held_by = f"is {job.state}" if row.host is None else f"has a driver, process {row.pid} on {row.host}"
                raise IllegalMove(f"attempt {attempt} of job {job_id} cannot be granted: it {held_by}")
            row.granted_at = job.updated_at = time.time()
            row.ray_job, row.cluster = ray_job, cluster
            unblock(job)
            if ray_job is None:
                move(session, job, State.RUNNING)
            else:
                event(session, job, "log", f"granted: it starts as {ray_job}", {"ray_job": ray_job, "cluster": cluster})

    def lose(self, job_id: str, attempt: int, code: str, message: str, retry_at: float | None = None) -> None:
        """Moves a live job to LOST: what drove it is gone. With `retry_at`, its next attempt is begun in the same step.

        Raises StaleAttempt if the attempt was given up, or ended.
        """
        with self._write() as session:
            job = live_job(session, job_id, attempt)
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
            if attempt.pending:
                job.cancel, job.resumable = how, True
                message = f"{how} requested before it started"
                move(session, job, State.CANCELLED, code="stopped" if how == "stop" else "cancelled", message=message)
            elif why := dead_driver(attempt, self._changes):
                lose(session, job, "driver_gone", why)
            else:
                job.cancel = "cancel" if "cancel" in (how, job.cancel) else "stop"
                if job.state != State.CANCELLING:
                    move(session, job, State.CANCELLING, message=f"{how} requested")
            return job
