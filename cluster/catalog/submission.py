"""Asking for a job: a new one, the next attempt of one that ended, or the live one that does the same already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from cluster.catalog.driver_api import drive as drive_attempt
from cluster.catalog.errors import IllegalMove
from cluster.catalog.job_tables import JobRow
from cluster.catalog.job_transitions import (
    attempt_of,
    begin_attempt,
    dead_driver,
    forget_retries,
    job_of,
    lose,
    new_job,
    next_attempt,
)
from cluster.catalog.leases import DISPATCHER
from cluster.catalog.names_and_tags import Labels, add_labels, checked, checked_project
from cluster.catalog.states import LIVE, State
from cluster.catalog.transactions import Transactions
from cluster.process_identity import ProcessId


class Submission(NamedTuple):
    """What a submission came to.

    `created`: the caller has made attempt `attempt` of job `job_id`, and must drive it to its end unless it asked for
    nobody to drive it. Otherwise the job is either SUCCEEDED (its `outputs` are there) or live, and the caller can wait
    for it by reading `Catalog.job`; a process on `host` drives it (None while nobody does).
    """

    job_id: str
    attempt: int
    state: State
    created: bool
    outputs: list[str]
    host: str | None

    @property
    def live(self) -> bool:
        """True while the job has not ended."""
        return self.state in LIVE


class Submissions(Transactions):
    """Submits and resumes jobs."""

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
        drive: bool = True,
        profile: str = "auto",
        environment: dict[str, Any] | None = None,
        wait_s: float = 600.0,
        parent: str | None = None,
        project: str = "default",
        name: str | None = None,
        tags: Sequence[str] = (),
        notes: str = "",
    ) -> Submission:
        """Asks for a job. Of equal requests (one `fingerprint`) at most one is live; see Submission for the answer.

        A new request makes a job; one that failed, was cancelled or lost gets its next attempt, and so does a finished
        one if the caller finds its `artifacts_gone`. A live job whose process is gone is first moved to LOST.

        `drive`: the calling process is recorded as the one that drives the attempt; it also takes over a live job that
        was not granted to anybody yet. Otherwise nobody drives it until a process is granted it and claims it.
        `environment`: how its driver is started; all who can read the catalog can read it, so no secrets.
        `parent`: the job that each attempt is made for. A live job that is submitted again without one belongs to no
        other from then on, and no longer ends with the job that it was made for.
        `project`, `name`, `tags` and `notes` belong to whoever asks first; a later one's tags are added, its name and
        notes taken where there are none. Raises NameTaken, ValueError (labels).
        """
        labels = checked(Labels(name, tags, notes))
        how = {
            "config": config,
            "requirement": requirement,
            "outputs": list(outputs),
            "inputs": inputs,
            "profile": profile,
            "environment": dict(environment or {}),
            "wait_s": wait_s,
        }
        first = {"parent": parent, "project": checked_project(project), "created_by": created_by}
        driver = ProcessId.current() if drive else None

        def ask() -> Submission:
            with self._write("share") as session:
                job, created = self._submit(session, stage, fingerprint, how, first, artifacts_gone, driver)
                add_labels(session, job, labels)
                host = attempt_of(session, job).host
                return Submission(job.id, job.attempt, job.state, created, list(job.outputs), host)

        return self._settled(ask)

    def _submit(
        self,
        session: Session,
        stage: str,
        fingerprint: str,
        how: dict[str, Any],
        first: dict[str, Any],
        artifacts_gone: bool,
        driver: ProcessId | None,
    ) -> tuple[JobRow, bool]:
        """The job, and whether the caller made its attempt."""
        last = select(JobRow).where(JobRow.fingerprint == fingerprint).order_by(JobRow.seq.desc()).limit(1)
        job = session.scalars(last.with_for_update(key_share=True)).one_or_none()
        if job is None:
            job = new_job(session, stage, fingerprint, {**how, **first})
            begin_attempt(session, job, driver)
            return job, True
        if job.state in LIVE:
            if first["parent"] is None:
                job.parent = None
            attempt = attempt_of(session, job)
            if driver is not None and attempt.pending:
                for name, value in how.items():
                    setattr(job, name, value)
                drive_attempt(job, attempt, driver)
                return job, True
            code, why = "driver_gone", dead_driver(attempt, self._changes)
            if driver is not None and attempt.host is None and not self._locks.is_held(DISPATCHER):
                code, why = "cluster_gone", "the cluster that was to start its driver is gone"
            if why:
                lose(session, job, code, why)
        if job.state in LIVE or (job.state == State.SUCCEEDED and not artifacts_gone):
            return job, False
        job.parent = first["parent"]
        forget_retries(job)
        next_attempt(job, how)
        begin_attempt(session, job, driver)
        return job, True

    def resume(self, job_id: str, created_by: str) -> JobRow:
        """Takes a job that ended without success to its next attempt, QUEUED, driven by nobody yet.

        Raises IllegalMove if it is live or has succeeded.
        """
        with self._write("share") as session:
            job = job_of(session, job_id)
            if job.state in LIVE or job.state == State.SUCCEEDED:
                raise IllegalMove(f"job {job_id} is {job.state}: only one that ended without success can be resumed")
            forget_retries(job)
            next_attempt(job, {})
            begin_attempt(session, job, None, f"attempt {job.attempt}: resumed by {created_by}")
            return job
