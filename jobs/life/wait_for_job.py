"""Waiting for a job that another process runs already."""

from __future__ import annotations

from collections.abc import Callable

from cluster.records import AttemptRow, JobRow, Records, Submission
from cluster.records.staleness import ChangeTimer
from jobs.life.failure import Failure
from jobs.life.outcome import Ended
from jobs.life.progress import Progress
from jobs.life.resolve import Step
from jobs.life.session import Session

POLL_SECONDS = 1.0
SUSPECT_SECONDS = 15.0  # a dispatcher writes more often what a job waits for; after this long there may be none


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
    changes = ChangeTimer()
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
            if _suspect(session.records, job, session.records.attempts(job_id)[-1], changes):
                row = submit()  # finds out whether the process is gone
                if row.created:
                    return None, row
    finally:
        progress.finish("no longer attached")
    if job.state == "SUCCEEDED":
        return Ended(job_id, "SUCCEEDED", list(job.outputs)), row
    failure = Failure(job.code or "failed", job.message or "", True) if job.state == "FAILED" else None
    return Ended(job_id, str(job.state), [], f"{step.stage}: {job.message or 'it ended'}", failure), row


def _suspect(records: Records, job: JobRow, attempt: AttemptRow, changes: ChangeTimer) -> bool:
    """Whether the process that drives a job is gone, or nobody takes up the attempt that is due. No wall clock says."""
    if attempt.driven:
        return records.dead_driver(attempt) is not None
    return job.due and changes.unchanged_s(attempt.number, job.updated_at) > SUSPECT_SECONDS
