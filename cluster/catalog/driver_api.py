"""What the process that drives an attempt calls. All of it is fenced: an attempt that was given up changes nothing."""

from __future__ import annotations

import time
from typing import Any, Literal

from cluster.catalog.artifact_writing import write_artifact
from cluster.catalog.errors import CancelPending, IllegalMove, StaleAttempt
from cluster.catalog.job_tables import AttemptRow, JobRow
from cluster.catalog.job_transitions import attempt_of, current_job, event, job_of, live_job, move, try_again
from cluster.catalog.states import ENDED, LIVE, MOVES, State, check_move
from cluster.catalog.transactions import Transactions
from cluster.process_identity import ProcessId


class DriverApi(Transactions):
    """The life of one attempt as its driver process reports it."""

    def claim(self, job_id: str, attempt: int) -> JobRow:
        """Makes the calling process the driver of a granted attempt that has none, and the job RUNNING.

        Raises StaleAttempt if the attempt was given up, was not granted or has another driver; CancelPending if the
        job is to be cancelled. Called again by the same process it does nothing.
        """
        with self._write() as session:
            job = live_job(session, job_id, attempt)
            row, driver = attempt_of(session, job), ProcessId.current()
            if row.host is not None:
                if ProcessId(row.host, row.pid or 0, row.process or "") != driver:
                    raise StaleAttempt(
                        f"attempt {attempt} of job {job_id} is driven by process {row.pid} on {row.host} already"
                    )
                return job
            if row.granted_at is None:
                raise StaleAttempt(f"attempt {attempt} of job {job_id} has not been granted: nobody may drive it yet")
            if job.state == State.CANCELLING:
                raise CancelPending(f"job {job_id} is to {job.cancel}: nothing is started for it")
            drive(job, row, driver)
            move(session, job, State.RUNNING)
            return job

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
        phase: str | None = None,
        durable: int | None = None,
    ) -> bool:
        """Says how an attempt gets on, and that its driver lives. Call it once a minute at least, if only to say that.

        `state` is WAITING or RUNNING (`finish` ends a job); `message` is a mark in the log and becomes an event; the
        figures are updated in place: `done` of `total` `unit`s of `phase`, at `rate` a second, `durable` of them safe
        on disk. False if nothing was changed: a newer attempt holds the job, it has ended or is to be cancelled.
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
            row = attempt_of(session, job)
            job.updated_at = time.time()
            if row.host is not None:
                row.heartbeat = job.updated_at
            figures = {"done": done, "total": total, "unit": unit, "rate": rate, "message": message, "phase": phase}
            for name, value in figures.items():
                if value is not None:
                    setattr(job, name, value)
            if durable is not None:
                _keep(job, durable)
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
        self._settled(lambda: self._publish(job_id, attempt, manifest))

    def _publish(self, job_id: str, attempt: int, manifest: dict[str, Any]) -> None:
        with self._write("share") as session:
            job = live_job(session, job_id, attempt)
            ref = f"{manifest['kind']}/{manifest['id']}"
            if job.state == State.CANCELLING:
                raise CancelPending(f"job {job_id} is to {job.cancel}: {ref} is not published")
            if job.state != State.RUNNING:
                raise IllegalMove(f"job {job_id} is {job.state}: {ref} can be published only while it is RUNNING")
            write_artifact(session, manifest, job)
            event(session, job, "log", f"published {ref}", {"artifact": ref})

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
        retry_at: float | None = None,
    ) -> None:
        """Ends an attempt: SUCCEEDED, FAILED, CANCELLED or LOST. Raises StaleAttempt, IllegalMove.

        A job that is CANCELLING cannot succeed any more (CancelPending), nor is it tried again. Ending it again in the
        same way does nothing. `retry_at`: a job that FAILED gets its next attempt in the same step, so that nobody sees
        it ended in between; nobody drives it before that time.
        """
        wanted = State(state)
        if wanted in LIVE:
            raise ValueError(f"finish cannot make a job {wanted}: it takes {', '.join(sorted(ENDED))}")
        with self._write() as session:
            job = current_job(session, job_id, attempt)
            if job.state == wanted:
                return
            job = live_job(session, job_id, attempt)
            if job.state == State.CANCELLING and wanted == State.SUCCEEDED:
                raise CancelPending(f"job {job_id} is to {job.cancel} and cannot become SUCCEEDED any more")
            check_move(job_id, State(job.state), wanted)
            again = retry_at is not None and wanted == State.FAILED and job.state != State.CANCELLING
            job.retryable, job.resumable = retryable, resumable
            move(session, job, wanted, code=code, message=message)
            if again and retry_at is not None:
                try_again(session, job, retry_at, message or "")

    def cancel_requested(self, job_id: str, attempt: int) -> Literal["stop", "cancel"] | None:
        """Whether an attempt should end: 'stop' (finish the block, write a checkpoint), 'cancel' (now), or None.

        An attempt that no longer holds its job, or whose job has ended, must cancel.
        """
        with self._read() as session:
            job = job_of(session, job_id, lock=False)
            if job.attempt != attempt or job.state in ENDED:
                return "cancel"
            return None if job.cancel is None else ("stop" if job.cancel == "stop" else "cancel")


def drive(job: JobRow, attempt: AttemptRow, driver: ProcessId) -> None:
    """Makes a process the driver of an attempt that has none."""
    attempt.host, attempt.pid, attempt.process = driver
    attempt.heartbeat = job.updated_at = time.time()


def _keep(job: JobRow, durable: int) -> None:
    """Notes what is safe on disk. More than ever in its phase is a step forward: earlier failures are forgiven.

    A next attempt passes through the phases again that an earlier one finished, so the most of each is kept.
    """
    phase = job.phase or ""
    if durable > job.durable_by_phase.get(phase, 0):
        job.durable_by_phase = {**job.durable_by_phase, phase: durable}
        job.retries = 0
    job.durable = durable
