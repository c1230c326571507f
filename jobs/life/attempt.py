"""One attempt of one job, in its driver process: from its start to the record of how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cluster.machines.unschedulable import explain
from cluster.records import CancelPending, CatalogUnreachable, IllegalMove, JobRow, Records, StaleAttempt
from configs.base import StageConfig
from configs.requirements import Fit, Requirement, fit
from configs.stages import STAGES
from jobs.life.outcome import Failure, JobFailed, Outcome, delay, failure_of, root_cause, tries_for
from jobs.life.planner import Step, is_done
from jobs.life.process import log_file, log_traceback, scratch_folder
from jobs.life.progress import Figures, Heartbeat, Progress
from jobs.life.resource_demand import requirement_of_row
from jobs.life.session import Session
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import load_stage

# How long a catalog that does not answer is asked again to take down a success. Each try of its own waits half a minute.
SUCCESS_PATIENCE_S = 600.0
PAUSE_S = 1.0


def perform(
    session: Session,
    step: Step,
    requirement: Requirement,
    job_id: str,
    attempt: int,
    admitted: Callable[[], bool],
    run_stage: Callable[[StageConfig], None],
    dispatched: bool = False,
) -> Outcome:
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
            work(session, step, requirement, job_id, attempt, log, run_stage)
        _succeed(records, job_id, attempt)
        return Outcome(job_id, "SUCCEEDED", [str(output.ref) for output in step.outputs])
    except (Stopped, CancelPending, IllegalMove, KeyboardInterrupt) as error:
        # IllegalMove: a cancel came between the last artifact and this end, so it cannot be called a success any more.
        if dispatched and isinstance(error, KeyboardInterrupt):
            session.leave()
            return Outcome(job_id, "CANCELLED", [], f"{step.stage}: cancelled")
        return cancelled(session, step.stage, job_id, attempt, error)
    except BaseException as error:
        ended = failed(session, step.stage, job_id, attempt, error)
        if not isinstance(error, Exception):
            raise
        return ended


def cancelled(session: Session, stage: str, job_id: str, attempt: int, error: BaseException) -> Outcome:
    """Records that an attempt was asked to end and has."""
    code = "cancelled" if isinstance(error, KeyboardInterrupt) else "stopped"
    message = str(error) or f"{code}: the same command goes on from the last checkpoint"
    if isinstance(error, KeyboardInterrupt):
        session.leave()  # CANCELLED is said once the work is gone, not when it was told to go
    session.records.finish(job_id, attempt, "CANCELLED", code=code, message=message, resumable=True)
    return Outcome(job_id, "CANCELLED", [], f"{stage}: {message}")


def failed(session: Session, stage: str, job_id: str, attempt: int, error: BaseException) -> Outcome:
    """Records why an attempt failed and, if that is worth it, its next attempt in the same transaction."""
    log = None
    with suppress(OSError):  # a full disk must not keep the end from being recorded
        log = log_file(session.home, job_id)
        log_traceback(log, error)
    failure = _told(session, stage, job_id, error, log)
    return _fail(session.records, job_id, attempt, error, failure)


def not_begun(records: Records, job: JobRow, error: Exception) -> Outcome:
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


def _fail(records: Records, job_id: str, attempt: int, error: BaseException, failure: Failure) -> Outcome:
    if not isinstance(error, StaleAttempt):  # then the row is another's
        tries = records.job(job_id).retries + 1
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
    return Outcome(job_id, "FAILED", [], failure.message, failure)


def _told(session: Session, stage: str, job_id: str, error: BaseException, log: Path | None) -> Failure:
    failure = failure_of(error)
    if failure.code == "unschedulable":  # the gate let it in, and Ray then found no place: Ray names no offer
        requirement, capacity = requirement_of_row(session.records.job(job_id).requirement), session.capacity()
        code = "cannot_fit" if fit(requirement, capacity).fit is Fit.NEVER else failure.code
        failure = failure._replace(code=code, message=explain(root_cause(error), requirement, capacity))
    if not failure.expected:
        see = f"; see {log}" if log is not None else ""
        return failure._replace(message=f"{stage}: {failure.message} (this is a fault of RayLens{see})")
    if isinstance(error, JobFailed):
        return failure
    return failure._replace(message=f"{stage}: {failure.message}")


def work(
    session: Session,
    step: Step,
    requirement: Requirement,
    job_id: str,
    attempt: int,
    log: Path | None,
    run_stage: Callable[[StageConfig], None],
) -> None:
    """Returns once all artifacts of the step have appeared. Raises what the stage raises, Stopped among it."""
    run = load_stage(step.stage).run
    progress = Progress(step.stage, log=log, quiet=STAGES[step.stage].runs_inputs)

    def write(now: Figures) -> None:
        # The last unit is told only by the end: 100% is said after the artifact has appeared.
        done = min(now.done, max(0, now.total - 1)) if now.total else None
        session.records.progress(
            job_id,
            attempt,
            done=done,
            total=now.total or None,
            unit=now.unit,
            rate=now.rate,
            phase=now.phase or None,
            durable=now.durable,
        )

    def asked(how: str) -> None:
        progress.log(f"{how} requested: " + ("finishing the block" if how == "stop" else "ending now"))
        if how == "stop":
            session.stop.set()
        else:
            session.stop.end_now()

    with scratch_folder(session.home, job_id, attempt) as scratch:
        job = JobContext(
            config=step.config,
            outputs=step.outputs,
            store=session.store,
            scratch=scratch,
            inputs=step.inputs,
            fingerprint=step.fingerprint,
            attempt=attempt,
            requirement=requirement,
            progress=progress,
            stage_version=step.version,
            stop=session.stop,
            claim=lambda manifest: session.records.publish(job_id, attempt, manifest.model_dump(mode="json")),
            job_id=job_id,
            run_stage=run_stage,
        )
        try:
            with Heartbeat(progress, write, lambda: session.records.cancel_requested(job_id, attempt), asked):
                if STAGES[step.stage].runs_inputs:
                    run(job)
                else:
                    _run_apart(run, job)
            if absent := job.missing():
                raise AssertionError(f"stage {step.stage} ended without {', '.join(str(o.ref) for o in absent)}")
        except BaseException:
            progress.finish("ended")
            raise
        progress.finish("  ".join(["100%", *(str(output.ref) for output in step.outputs)]))


def _run_apart(run: Callable[[JobContext], None], job: JobContext) -> None:
    """Runs the stage in a thread, so that the main thread is free for signals: Ray Train would take SIGINT for itself.

    A KeyboardInterrupt leaves the thread behind; the row is another's by then, so it can publish nothing any more.
    """
    raised: list[BaseException] = []

    def call() -> None:
        try:
            run(job)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            raised.append(error)

    thread = threading.Thread(target=call, name="raylens-stage", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.5)
    if raised:
        raise raised[0]
