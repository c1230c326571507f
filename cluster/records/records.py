"""The catalog: jobs, their attempts and events, and what they published. The row is the truth; what runs follows it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cluster.records.changes import answer, attempt_of, event, held, job_of, move, new_job, next_attempt, silent
from cluster.records.database import open_engine
from cluster.records.errors import CancelPending, IllegalMove
from cluster.records.process import Driver
from cluster.records.readers import Readers, explained
from cluster.records.rows import JobRow, Submission, job_row
from cluster.records.states import ENDED, LIVE, MOVES, State, check_move
from cluster.records.tables import Artifact, Attempt, Job


def open_records(url: str | None = None) -> Records:
    """The catalog at an SQLAlchemy URL, by default sqlite:///$RAYLENS_HOME/catalog.db. Raises RecordsError."""
    return Records(open_engine(url))


class Records(Readers):
    """Five functions that drive a job (submit, progress, publish, finish, cancel_requested), and readers.

    Every call is one transaction. Threads may share a value of this class; processes open their own.
    """

    # -- the five functions ------------------------------------------------------------------------------------------

    def submit(
        self,
        *,
        stage: str,
        fingerprint: str,
        config: dict[str, Any],
        requirement: dict[str, Any],
        outputs: Sequence[str],
        inputs: dict[str, str],
        created_by: str,
        artifacts_gone: bool = False,
    ) -> Submission:
        """Asks for a job. Of equal requests (one `fingerprint`) at most one is live; see Submission for the answer.

        A new request makes a job; one that failed, was cancelled or lost gets its next attempt, and so does a finished
        one if the caller finds its `artifacts_gone`. A live job whose process is gone is first moved to LOST. The
        calling process is recorded as the one that drives the attempt.
        """
        values = {"config": config, "requirement": requirement, "outputs": list(outputs), "inputs": inputs}
        try:
            return self._submit(stage, fingerprint, values, created_by, artifacts_gone)
        except IntegrityError:  # another process has just made the job (on a database that does not lock at the start)
            return self._submit(stage, fingerprint, values, created_by, artifacts_gone)

    def _submit(
        self, stage: str, fingerprint: str, values: dict[str, Any], created_by: str, artifacts_gone: bool
    ) -> Submission:
        with self._write() as session:
            now = time.time()
            last = select(Job).where(Job.fingerprint == fingerprint).order_by(Job.created_at.desc()).limit(1)
            job = session.scalars(last.with_for_update()).one_or_none()
            lost = None
            if job is not None and job.state in LIVE and (why := silent(attempt_of(session, job), now)):
                lost = job.attempt
                move(session, job, State.LOST, code="driver_gone", message=why)
                job.retryable = job.resumable = True
            if job is not None and (job.state in LIVE or (job.state == State.SUCCEEDED and not artifacts_gone)):
                return answer(session, job, created=False, lost=None)
            if job is None:
                job = new_job(stage, fingerprint, values, created_by, now)
                session.add(job)
                session.flush()
            else:
                next_attempt(job, values)
            driver = Driver.this()
            session.add(
                Attempt(
                    job_id=job.id,
                    number=job.attempt,
                    state=State.QUEUED,
                    heartbeat=now,
                    started_at=now,
                    **driver._asdict(),
                )
            )
            session.flush()
            event(session, job, "state", f"attempt {job.attempt}")
            return answer(session, job, created=True, lost=lost)

    def progress(
        self,
        job_id: str,
        attempt: int,
        *,
        state: State | str | None = None,
        done: int | None = None,
        total: int | None = None,
        unit: str | None = None,
        rate: float | None = None,
        message: str | None = None,
    ) -> bool:
        """Says how an attempt gets on, and that its driver lives. Call it once a minute at least, if only to say that.

        `state` is WAITING or RUNNING (`finish` ends a job); `message` is a mark in the log and becomes an event; the
        numbers only update the row. False: the attempt no longer holds the job, or the move would take it backwards
        or past a cancel. Nothing is changed then; the caller should ask `cancel_requested`.
        """
        wanted = None if state is None else State(state)
        if wanted is not None and wanted not in (State.WAITING, State.RUNNING):
            raise ValueError(f"progress cannot make a job {wanted}: it takes WAITING or RUNNING; finish() ends a job")
        with self._write() as session:
            job = job_of(session, job_id)
            if job.attempt != attempt or job.state in ENDED:
                return False
            moves = wanted is not None and wanted != job.state
            if wanted is not None and moves and wanted not in MOVES[State(job.state)]:
                return False
            attempt_of(session, job).heartbeat = job.updated_at = time.time()
            for name, value in (("done", done), ("total", total), ("unit", unit), ("rate", rate), ("message", message)):
                if value is not None:
                    setattr(job, name, value)
            if wanted is not None and moves:
                move(session, job, wanted, message=message)
            elif message is not None:
                event(session, job, "log", message)
            return True

    def publish(self, job_id: str, attempt: int, manifest: dict[str, Any]) -> None:
        """The right to write an artifact's manifest: records the artifact if `attempt` holds the job, which is RUNNING.

        Raises StaleAttempt if a newer attempt holds the job or it has ended, CancelPending if it is to be cancelled.
        `manifest` is the manifest as JSON.
        """
        with self._write() as session:
            job = held(session, job_id, attempt)
            ref = f"{manifest['kind']}/{manifest['id']}"
            if job.state == State.CANCELLING:
                raise CancelPending(f"job {job_id} is to {job.cancel}: {ref} is not published")
            if job.state != State.RUNNING:
                raise IllegalMove(f"job {job_id} is {job.state}: {ref} can be published only while it is RUNNING")
            row = Artifact(
                job_id=job_id,
                attempt=attempt,
                bytes=sum(file["size"] for file in manifest["files"]),
                created_at=time.time(),
                **{
                    key: manifest[key] for key in ("kind", "id", "stage", "stage_version", "label", "inputs", "summary")
                },
            )
            session.merge(row)
            event(session, job, "log", f"published {ref}")

    def finish(
        self,
        job_id: str,
        attempt: int,
        state: State | str,
        *,
        code: str | None = None,
        message: str | None = None,
        retryable: bool = False,
        resumable: bool = False,
    ) -> None:
        """Ends an attempt: SUCCEEDED, FAILED, CANCELLED or LOST. Raises StaleAttempt, IllegalMove.

        A job that is CANCELLING cannot succeed any more (CancelPending). Ending it again in the same way does nothing.
        """
        wanted = State(state)
        if wanted in LIVE:
            raise ValueError(f"finish cannot make a job {wanted}: it takes {', '.join(sorted(ENDED))}")
        with self._write() as session:
            job = job_of(session, job_id)
            if job.attempt == attempt and job.state == wanted:
                return
            job = held(session, job_id, attempt)
            if job.state == State.CANCELLING and wanted == State.SUCCEEDED:
                raise CancelPending(f"job {job_id} is to {job.cancel} and cannot become SUCCEEDED any more")
            check_move(job_id, State(job.state), wanted)
            job.retryable, job.resumable = retryable, resumable
            move(session, job, wanted, code=code, message=message)

    def cancel_requested(self, job_id: str, attempt: int) -> Literal["stop", "cancel"] | None:
        """Whether an attempt should end: 'stop' (finish the block, write a checkpoint), 'cancel' (now), or None.

        An attempt that no longer holds its job, or whose job has ended, is told to cancel.
        """
        with self._read() as session:
            job = job_of(session, job_id)
            if job.attempt != attempt or job.state in ENDED:
                return "cancel"
            return None if job.cancel is None else ("stop" if job.cancel == "stop" else "cancel")

    # -- cancelling --------------------------------------------------------------------------------------------------

    def request_cancel(self, job_id: str, how: Literal["stop", "cancel"] = "cancel") -> JobRow:
        """Asks a live job to end; its driver obeys. A 'stop' can become a 'cancel', not the other way round.

        If the driver's process is gone, the job is LOST at once. Raises IllegalMove if the job has ended.
        """
        if how not in ("stop", "cancel"):
            raise ValueError(f"a job is asked to 'stop' or to 'cancel', not to {how!r}")
        with self._write() as session:
            job = job_of(session, job_id)
            if job.state in ENDED:
                raise IllegalMove(f"job {job_id} is {job.state} already: there is nothing to {how}")
            if why := silent(attempt_of(session, job), time.time()):
                job.retryable = job.resumable = True
                move(session, job, State.LOST, code="driver_gone", message=why)
            else:
                job.cancel = "cancel" if "cancel" in (how, job.cancel) else "stop"
                if job.state != State.CANCELLING:
                    move(session, job, State.CANCELLING, message=f"{how} requested")
            return job_row(job)

    # -- transactions ------------------------------------------------------------------------------------------------

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with explained(), Session(self._engine) as session, session.begin():
            yield session
