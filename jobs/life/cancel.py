"""Stop and cancel: a job, and with it those that only it asked for."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from cluster.records import IllegalMove, JobRow, Records


def ask(records: Records, job_id: str, how: Literal["stop", "cancel"]) -> JobRow:
    """Asks a live job to end: 'stop' after its block with a checkpoint, 'cancel' now. Gives its row.

    Jobs that were recorded on its behalf end too, but for those whose artifacts another live job waits for. Raises
    RecordsError if there is none, IllegalMove if it has ended.
    """
    live = {job.id: job for job, _ in records.live()}
    row = records.request_cancel(job_id, how)
    below = {job.id for job in live.values() if job.parent == job_id}
    while needed := {one for one in below if _needed(live[one], live, below | {job_id})}:
        below -= needed
    for one in below:
        with suppress(IllegalMove):  # it has just ended
            records.request_cancel(one, how)
    return row


def drop_waiting(records: Records, job_id: str) -> None:
    """Cancels what was recorded on behalf of a job that has failed and waits still, unless another live job needs it."""
    live = {job.id: job for job, _ in records.live()}
    waiting = {
        job.id for job, held in records.live() if job.parent == job_id and held.granted_at is None and not held.pid
    }
    while needed := {one for one in waiting if _needed(live[one], live, waiting | {job_id})}:
        waiting -= needed
    for one in waiting:
        with suppress(IllegalMove):
            records.request_cancel(one, "cancel")


def _needed(job: JobRow, live: dict[str, JobRow], leaving: set[str]) -> bool:
    made = set(job.outputs)
    return any(made & set(other.inputs.values()) for other in live.values() if other.id not in leaving)
