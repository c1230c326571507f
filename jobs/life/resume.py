"""Takes up a job that was stopped, cancelled or failed, from what it left."""

from __future__ import annotations

import getpass

from cluster.records import JobRow, Records, RecordsError


def resume(records: Records, job_id: str, created_by: str | None = None) -> JobRow:
    """The job's next attempt, QUEUED for the dispatcher; with it those that ended with it and that it stands on.

    Raises RecordsError if there is no such job, IllegalMove if it is live or has succeeded.
    """
    who = created_by or getpass.getuser()
    row = records.resume(job_id, who)
    for below in records.jobs(parent=job_id, limit=1000):
        if not below.live and below.state != "SUCCEEDED":
            try:
                records.resume(below.id, who)
            except RecordsError:  # another request has just done so
                continue
    return row
