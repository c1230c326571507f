"""Stop, cancel and resume: a job, and with it those that exist for it alone."""

from __future__ import annotations

import getpass
from contextlib import suppress
from typing import Literal

from cluster.catalog import DISPATCHER, Catalog, CatalogError, IllegalMove, JobRow


def request_end(catalog: Catalog, job_id: str, how: Literal["stop", "cancel"]) -> JobRow:
    """Asks a live job to end: 'stop' after its block with a checkpoint, 'cancel' now. Gives its row.

    Jobs that live for it alone end too; they may live on after it, for one that was waiting for them ends at once.
    Raises CatalogError if there is none, IllegalMove if it has ended and nothing lives for it.
    """
    below = needed_only_by(catalog, job_id)
    try:
        row = catalog.request_cancel(job_id, how)
    except IllegalMove:
        if not below:
            raise
        row = catalog.job(job_id)
    for one in below:
        with suppress(IllegalMove):  # it has just ended
            catalog.request_cancel(one, how)
    return row


def needed_only_by(catalog: Catalog, job_id: str) -> set[str]:
    """Live jobs that were recorded on behalf of a job, but for those whose artifacts another live job waits for."""
    live = {job.id: job for job, _ in catalog.live()}
    return _unneeded({job.id for job in live.values() if job.parent == job_id}, live, job_id)


def cancel_pending_inputs(catalog: Catalog, job_id: str) -> None:
    """Cancels what was recorded on behalf of a job that has failed and waits still, unless another live job needs it."""
    rows = catalog.live()
    live = {job.id: job for job, _ in rows}
    waiting = {job.id for job, attempt in rows if job.parent == job_id and attempt.granted_at is None}
    for one in _unneeded(waiting, live, job_id):
        with suppress(IllegalMove):
            catalog.request_cancel(one, "cancel")


def _unneeded(jobs: set[str], live: dict[str, JobRow], job_id: str) -> set[str]:
    """Those of `jobs`, recorded on behalf of `job_id`, that nothing else needs."""
    while needed := {one for one in jobs if _needed(live[one], live, jobs | {job_id})}:
        jobs = jobs - needed
    return jobs


def _needed(job: JobRow, live: dict[str, JobRow], leaving: set[str]) -> bool:
    made = set(job.outputs)
    return any(made & set(other.inputs.values()) for other in live.values() if other.id not in leaving)


class NoDispatcher(RuntimeError):
    """Nothing would ever start the job's next attempt."""


def resume(catalog: Catalog, job_id: str, created_by: str | None = None) -> JobRow:
    """The job's next attempt, QUEUED for the dispatcher; with it the jobs that ended with it and make its inputs.

    Raises CatalogError if there is no such job, IllegalMove if it is live or has succeeded, NoDispatcher.
    """
    who = created_by or getpass.getuser()
    before = catalog.job(job_id)
    _check_dispatcher(catalog, before)
    row = catalog.resume(job_id, who)
    for below in _below(catalog, before):
        try:
            catalog.resume(below, who)
        except CatalogError:  # it lives, has succeeded, or another request has just done so
            continue
    return row


def _below(catalog: Catalog, job: JobRow) -> list[str]:
    """Jobs that were made on behalf of one, and those whose artifacts it was waiting for, whoever submitted them."""
    blocked = job.blocked or {}
    waited_for = blocked.get("blocked_by", []) if blocked.get("kind") == "inputs" else []
    made = [row.id for row in catalog.jobs(parent=job.id, limit=1000)]
    return list(dict.fromkeys([*made, *waited_for]))


def _check_dispatcher(catalog: Catalog, job: JobRow) -> None:
    lease = catalog.lease_row(DISPATCHER)
    if (lease is None or not lease.held) and not job.live and job.state != "SUCCEEDED":
        raise NoDispatcher(
            f"no cluster runs that would start job {job.id}. Either start one with `python -m cluster up` and resume the "
            f"job then, or run the command again that submitted it (`python -m jobs {job.stage} --config FILE ...`), "
            "which runs it itself, from its last checkpoint"
        )
