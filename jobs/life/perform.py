"""One attempt of one job, in the process that drives it: from its start to the record of how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cluster.machines.unschedulable import explain
from cluster.records import CancelPending, CatalogUnreachable, IllegalMove, JobRow, Records, StaleAttempt
from configs.base import StageConfig
from configs.requirements import Fit, Requirement, fit
from jobs.life.attempt import work
from jobs.life.failure import Failure, JobFailed, failure_of, root_cause
from jobs.life.job_files import log_file, write_trace
from jobs.life.outcome import Ended
from jobs.life.plan import is_done
from jobs.life.resolve import Step
from jobs.life.resource_demand import requirement_in
from jobs.life.retry import delay, tries_for
from jobs.life.session import Session
from jobs.life.stage_context import Stopped

# How long a catalog that does not answer is asked again to take down a success. Each try of its own waits half a minute.
SUCCESS_PATIENCE_S = 600.0
PAUSE_S = 1.0


def perform(
    session: Session,
    step: Step,
    need: Requirement,
    job_id: str,
    attempt: int,
    admitted: Callable[[], bool],
    run_stage: Callable[[StageConfig], None],
    dispatched: bool = False,
) -> Ended:
    """Runs an attempt that is this process' own, and records its end whatever happens.

    `admitted()` waits for its place and makes it RUNNING; False if it was asked to stop while it waited. `run_stage`
    runs another stage, for one that runs others. `dispatched`: what this process says goes to the job's log anyway, and
    that it was cancelled is recorded by the dispatcher, once this process is gone too.
    """
    records = session.records
    try:
        log = None if dispatched else log_file(session.home, job_id)
        if is_done(session.store, step):  # made under another catalog, or by a driver that died before it could say so
            records.progress(job_id, attempt, state="RUNNING")
        elif not admitted():
            raise Stopped
        else:
            work(session, step, need, job_id, attempt, log, run_stage)
        _succeed(records, job_id, attempt)
        return Ended(job_id, "SUCCEEDED", [str(output.ref) for output in step.outputs])
    except (Stopped, CancelPending, IllegalMove, KeyboardInterrupt) as error:
        # IllegalMove: a cancel came between the last artifact and this end, so it cannot be called a success any more.
        if dispatched and isinstance(error, KeyboardInterrupt):
            session.leave()
            return Ended(job_id, "CANCELLED", [], f"{step.stage}: cancelled")
        return cancelled(session, step.stage, job_id, attempt, error)
    except BaseException as error:
        ended = failed(session, step.stage, job_id, attempt, error)
        if not isinstance(error, Exception):
            raise
        return ended


def cancelled(session: Session, stage: str, job_id: str, attempt: int, error: BaseException) -> Ended:
    """Records that an attempt was asked to end and has."""
    code = "cancelled" if isinstance(error, KeyboardInterrupt) else "stopped"
    message = str(error) or f"{code}: the same command goes on from the last checkpoint"
    if isinstance(error, KeyboardInterrupt):
        session.leave()  # CANCELLED is said once the work is gone, not when it was told to go
    session.records.finish(job_id, attempt, "CANCELLED", code=code, message=message, resumable=True)
    return Ended(job_id, "CANCELLED", [], f"{stage}: {message}")


def failed(session: Session, stage: str, job_id: str, attempt: int, error: BaseException) -> Ended:
    """Records why an attempt failed and, if that is worth it, its next attempt in the same transaction."""
    log = None
    with suppress(OSError):  # a full disk must not keep the end from being recorded
        log = log_file(session.home, job_id)
        write_trace(log, error)
    failure = _told(session, stage, job_id, error, log)
    return _fail(session.records, job_id, attempt, error, failure)


def not_begun(records: Records, job: JobRow, error: Exception) -> Ended:
    """Records why the process that claimed an attempt cannot even begin: a store or a home that it cannot use."""
    failure = failure_of(error)
    failure = failure._replace(message=f"{job.stage}: its driver cannot begin: {failure.message}")
    return _fail(records, job.id, job.attempt, error, failure)


def _succeed(records: Records, job_id: str, attempt: int) -> None:
    """Records a success. The artifacts are there, so a catalog that does not answer for a while makes no failure of it."""
    until = time.monotonic() + SUCCESS_PATIENCE_S
    while True:
        try:
            records.finish(job_id, attempt, "SUCCEEDED")
            return
        except CatalogUnreachable:
            if time.monotonic() > until:
                raise
        time.sleep(PAUSE_S)


def _fail(records: Records, job_id: str, attempt: int, error: BaseException, failure: Failure) -> Ended:
    if not isinstance(error, StaleAttempt):  # then the row is another's
        tries = records.job(job_id).tries + 1
        again = isinstance(error, Exception) and not isinstance(error, JobFailed) and tries < tries_for(failure.code)
        records.finish(
            job_id,
            attempt,
            "FAILED",
            code=failure.code,
            message=failure.message,
            retryable=failure.retryable,
            resumable=True,
            retry_at=time.time() + delay(tries) if again else None,
        )
    return Ended(job_id, "FAILED", [], failure.message, failure)


def _told(session: Session, stage: str, job_id: str, error: BaseException, log: Path | None) -> Failure:
    failure = failure_of(error)
    if failure.code == "unschedulable":  # the gate let it in, and Ray then found no place: Ray names no offer
        need, offer = requirement_in(session.records.job(job_id).requirement), session.offer()
        code = "cannot_fit" if fit(need, offer).fit is Fit.NEVER else failure.code
        failure = failure._replace(code=code, message=explain(root_cause(error), need, offer))
    if not failure.expected:
        see = f"; see {log}" if log is not None else ""
        return failure._replace(message=f"{stage}: {failure.message} (this is a fault of RayLens{see})")
    if isinstance(error, JobFailed):
        return failure
    return failure._replace(message=f"{stage}: {failure.message}")
