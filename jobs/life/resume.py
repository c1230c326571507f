"""Takes up a job that was stopped, cancelled or failed, from what it left."""

from __future__ import annotations

import getpass

from cluster.records import DISPATCHER, JobRow, Records, RecordsError


class NoDispatcher(RuntimeError):
    """Nothing would ever start the job's next attempt."""


def resume(records: Records, job_id: str, created_by: str | None = None) -> JobRow:
    """The job's next attempt, QUEUED for the dispatcher; with it those that ended with it and that it stands on.

    Raises RecordsError if there is no such job, IllegalMove if it is live or has succeeded, NoDispatcher.
    """
    who = created_by or getpass.getuser()
    before = records.job(job_id)
    _check_dispatcher(records, before)
    row = records.resume(job_id, who)
    for below in _below(records, before):
        try:
            records.resume(below, who)
        except RecordsError:  # it lives, has succeeded, or another request has just done so
            continue
    return row


def _below(records: Records, job: JobRow) -> list[str]:
    """Jobs that were made on behalf of one, and those whose artifacts it was waiting for, whoever asked for them."""
    blocked = job.blocked or {}
    waited_for = blocked.get("holders", []) if blocked.get("kind") == "inputs" else []
    made = [row.id for row in records.jobs(parent=job.id, limit=1000)]
    return list(dict.fromkeys([*made, *waited_for]))


def _check_dispatcher(records: Records, job: JobRow) -> None:
    lease = records.lease_row(DISPATCHER)
    if (lease is None or not lease.held) and not job.live and job.state != "SUCCEEDED":
        raise NoDispatcher(
            f"no cluster runs that would start job {job.id}. Either start one with `python -m cluster up` and resume the "
            f"job then, or give the command again that asked for it (`python -m jobs {job.stage} --config FILE ...`), "
            "which runs it itself, from its last checkpoint"
        )
