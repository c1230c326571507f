"""Stop and cancel: a job, and with it those that only it asked for."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from cluster.records import IllegalMove, JobRow, Records


def ask(records: Records, job_id: str, how: Literal["stop", "cancel"]) -> JobRow:
    """Asks a live job to end: 'stop' after its block with a checkpoint, 'cancel' now. Gives its row.

    Jobs that live for it alone end too; they may live on after it, for one that was waiting for them ends at once.
    Raises RecordsError if there is none, IllegalMove if it has ended and nothing lives for it.
    """
    below = for_it_alone(records, job_id)
    try:
        row = records.request_cancel(job_id, how)
    except IllegalMove:
        if not below:
            raise
        row = records.job(job_id)
    for one in below:
        with suppress(IllegalMove):  # it has just ended
            records.request_cancel(one, how)
    return row


def for_it_alone(records: Records, job_id: str) -> set[str]:
    """Live jobs that were recorded on behalf of a job, but for those whose artifacts another live job waits for."""
    live = {job.id: job for job, _ in records.live()}
    return _unneeded({job.id for job in live.values() if job.parent == job_id}, live, job_id)


def drop_waiting(records: Records, job_id: str) -> None:
    """Cancels what was recorded on behalf of a job that has failed and waits still, unless another live job needs it."""
    rows = records.live()
    live = {job.id: job for job, _ in rows}
    waiting = {job.id for job, held in rows if job.parent == job_id and held.granted_at is None and not held.pid}
    for one in _unneeded(waiting, live, job_id):
        with suppress(IllegalMove):
            records.request_cancel(one, "cancel")


def _unneeded(jobs: set[str], live: dict[str, JobRow], job_id: str) -> set[str]:
    """Those of `jobs`, recorded on behalf of `job_id`, that nothing else needs."""
    while needed := {one for one in jobs if _needed(live[one], live, jobs | {job_id})}:
        jobs = jobs - needed
    return jobs


def _needed(job: JobRow, live: dict[str, JobRow], leaving: set[str]) -> bool:
    made = set(job.outputs)
    return any(made & set(other.inputs.values()) for other in live.values() if other.id not in leaving)
