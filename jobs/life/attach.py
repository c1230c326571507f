"""Waiting for a job that another process runs already."""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.records import JobRow, Submission
from jobs.life.ended import Ended
from jobs.life.failure import Failure
from jobs.life.progress import Progress
from jobs.life.resolve import Step
from jobs.life.session import Session

POLL_SECONDS = 1.0
SUSPECT_SECONDS = 15.0  # a driver beats every second; one that was silent this long may be gone


def attach(
    session: Session, step: Step, row: Submission, submit: Callable[[], Submission]
) -> tuple[Ended | None, Submission]:
    """Waits for a job that another process runs, and ends as it does. A stop ends the waiting, not the job.

    If that process is gone, the job's next attempt is ours: (None, its submission).
    """
    job_id = row.job_id
    session.say(f"{step.stage:<9} an equal job, {job_id}, is running already: waiting for its end")
    progress = Progress(step.stage)
    phase: tuple[int | None, str | None] | None = None
    try:
        while (job := session.records.job(job_id)).live:
            if job.total and (job.total, job.unit) != phase:
                phase = (job.total, job.unit)
                progress.start(f"job {job_id}", job.total, job.unit or "", job.done or 0)
            progress.update(job.done or 0)
            progress.tick()
            if session.stop.wait(POLL_SECONDS):
                message = f"no longer waiting; job {job_id} goes on (`python -m jobs stop {job_id}` ends it)"
                return Ended(job_id, str(job.state), [], message), row
            if _suspect(job, session.records.attempts(job_id)[-1].heartbeat):
                row = submit()  # finds out whether the process is gone
                if row.created:
                    return None, row
    finally:
        progress.finish("no longer attached")
    if job.state == "SUCCEEDED":
        return Ended(job_id, "SUCCEEDED", list(job.outputs)), row
    failure = Failure(job.code or "failed", job.message or "", True) if job.state == "FAILED" else None
    return Ended(job_id, str(job.state), [], f"{step.stage}: {job.message or 'it ended'}", failure), row


def _suspect(job: JobRow, heartbeat: float | None) -> bool:
    """Whether the process that drives a job may be gone, or none has taken up the attempt that is due."""
    now = time.time()
    if heartbeat is None:
        return now - (job.retry_at or job.updated_at) > SUSPECT_SECONDS
    return now - heartbeat > SUSPECT_SECONDS
