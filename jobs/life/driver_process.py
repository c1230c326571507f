"""The driver process of an attempt that the dispatcher granted: `python -m jobs drive JOB ATTEMPT`, in its own Ray job."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from cluster.catalog import CancelPending, JobRow, open_catalog
from jobs.life.attempt import AttemptThread, not_begun
from jobs.life.driver_setup import StopFlag, captured_output, install, log_file
from jobs.life.outcome import Outcome
from jobs.life.session import Session


def drive(job_id: str, attempt: int) -> Outcome:
    """Claims the attempt, runs it, records its end. Raises CatalogError if it is not this process' to run."""
    stop = StopFlag()
    install(stop)
    catalog = open_catalog()
    try:
        job = catalog.claim(job_id, attempt)
    except CancelPending as error:  # the dispatcher records CANCELLED once this process is gone too
        return Outcome(job_id, "CANCELLED", [], str(error))
    with ExitStack() as opened:
        try:
            session = opened.enter_context(Session(job.profile, job.wait_s, stop, catalog=catalog))
            opened.enter_context(captured_output(log_file(session.home, job_id)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the row must say how it ended
            return not_begun(catalog, job, error)
        print(f"{job.stage:<9} attempt {attempt} of job {job_id}", file=sys.stderr, flush=True)
        return _run(session, job)


def _run(session: Session, job: JobRow) -> Outcome:
    running = AttemptThread(session, job, to_log=False)
    try:
        running.start()
        while not running.wait(0.5):
            continue
        return running.outcome
    except KeyboardInterrupt:  # the dispatcher records CANCELLED once this process is gone too
        running.abandon()
        return Outcome(job.id, "CANCELLED", [], f"{job.stage}: cancelled")
