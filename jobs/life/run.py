"""The life of a job in its driver: submit, see whether it is done already, wait for a place, run, record how it ended.

The row is committed before the work starts and says SUCCEEDED only after the artifacts have appeared.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from cluster.records import LIVE, CancelPending, StaleAttempt, Submission
from configs.base import StageConfig
from configs.requirements import Requirement
from jobs.life.admission import CannotFit, admit, check_ever, requirement_of
from jobs.life.context import JobContext, Stopped, named_inputs
from jobs.life.failure import Failure, JobFailed, failure_of
from jobs.life.progress import Beat, Figures, Progress
from jobs.life.resolve import Step, resolve_auto
from jobs.life.session import Session
from jobs.stages import stage_module

ATTACH_SECONDS = 1.0
SUSPECT_SECONDS = 15.0  # a driver beats every second; one that was silent this long may be gone


class MissingInput(ValueError):
    """An input that the config names by id does not exist."""


class Ended(NamedTuple):
    """How a job ended. `message` is for people, `failure` is None unless it FAILED."""

    job_id: str
    state: str
    artifacts: list[str]
    message: str = ""
    failure: Failure | None = None


def execute(session: Session, config: StageConfig) -> Ended:
    """Runs a stage, its missing inputs first, each as a recorded job. Raises ValueError for what is wrong before."""
    config = resolve_auto(config, session.profile.device)
    steps = session.planner.plan(config)
    target = steps[-1]
    missing = [step for step in steps if not _done(session, step)]
    if missing:
        for step in reversed(steps):  # the stage that was asked for speaks first
            if step in missing and (ended := _refuse(session, step)) is not None:
                return ended
        _check_given(session, steps)
    if not _runs_inputs(target):
        for step in missing:
            if step is not target:
                ended = run_step(session, step)
                if ended.state != "SUCCEEDED":
                    return ended
    return run_step(session, target)


def run_step(session: Session, step: Step) -> Ended:
    """Takes one job, whose inputs are there, to its end: at once if it is done, by waiting if another runs it."""
    done = _done(session, step)
    # A job that is done needs no place, and a cluster should not be asked about it.
    need = Requirement() if done else requirement_of(session, step)

    def submit() -> Submission:
        return session.records.submit(
            stage=step.stage,
            fingerprint=step.fingerprint,
            config=step.config.model_dump(mode="json"),
            requirement={**need.model_dump(mode="json"), "cluster": session.cluster},
            outputs=[str(output.ref) for output in step.outputs],
            inputs=named_inputs(step.inputs),
            created_by=session.user,
            artifacts_gone=not done,
        )

    row = submit()
    if row.live and not row.created:
        ended, row = _attach(session, step, row, submit)
        if ended is not None:
            return ended
    if row.created:
        return _drive(session, step, need, row.job_id, row.attempt)
    session.say(f"{step.stage:<9} done already: {', '.join(row.outputs)}")
    return Ended(row.job_id, "SUCCEEDED", list(row.outputs))


def _drive(session: Session, step: Step, need: Requirement, job_id: str, attempt: int) -> Ended:
    """Runs an attempt that is this process' own, and records its end whatever happens."""
    records, log = session.records, _log_file(session, job_id)
    artifacts = [str(output.ref) for output in step.outputs]
    try:
        if _done(session, step):  # made under another catalog, or by a driver that died before it could say so
            records.progress(job_id, attempt, state="RUNNING")
        elif not admit(session, step, need, job_id, attempt):
            raise Stopped
        else:
            _work(session, step, need, job_id, attempt, log)
        records.finish(job_id, attempt, "SUCCEEDED")
        return Ended(job_id, "SUCCEEDED", artifacts)
    except (Stopped, CancelPending, KeyboardInterrupt) as error:
        code = "cancelled" if isinstance(error, KeyboardInterrupt) else "stopped"
        message = str(error) or f"{code}: the same command goes on from the last checkpoint"
        records.finish(job_id, attempt, "CANCELLED", code=code, message=message, resumable=True)
        return Ended(job_id, "CANCELLED", [], f"{step.stage}: {message}")
    except BaseException as error:
        _write_trace(log, error)
        failure = failure_of(error)
        if not failure.expected:
            failure = failure._replace(
                message=f"{step.stage}: {failure.message} (this is a fault of RayLens; see {log})"
            )
        elif not isinstance(error, JobFailed):
            failure = failure._replace(message=f"{step.stage}: {failure.message}")
        if not isinstance(error, StaleAttempt):  # then the row is another's
            records.finish(
                job_id, attempt, "FAILED", code=failure.code, message=failure.message, retryable=failure.retryable
            )
        if not isinstance(error, Exception):
            raise
        return Ended(job_id, "FAILED", [], failure.message, failure)


def _work(session: Session, step: Step, need: Requirement, job_id: str, attempt: int, log: Path) -> None:
    module = stage_module(step.stage)
    progress = Progress(step.stage, log=log, quiet=_runs_inputs(step))

    def write(now: Figures) -> None:
        # The last unit is told only by the end: 100% is said after the artifact has appeared.
        done = min(now.done, max(0, now.total - 1)) if now.total else None
        session.records.progress(job_id, attempt, done=done, total=now.total or None, unit=now.unit, rate=now.rate)

    def asked(how: str) -> None:
        if how == "stop":
            session.stop.set()
        else:
            session.stop.end_now()

    with _scratch(session, job_id, attempt) as scratch:
        job = JobContext(
            config=step.config,
            outputs=step.outputs,
            store=session.store,
            scratch=scratch,
            inputs=step.inputs,
            fingerprint=step.fingerprint,
            attempt=attempt,
            requirement=need,
            progress=progress,
            stage_version=step.version,
            stop=session.stop,
            claim=lambda manifest: session.records.publish(job_id, attempt, manifest.model_dump(mode="json")),
            job_id=job_id,
            run_stage=lambda config: _run_inner(session, config, job_id),
        )
        try:
            with Beat(progress, write, lambda: session.records.cancel_requested(job_id, attempt), asked):
                if _runs_inputs(step):
                    module.run(job)
                else:
                    _run_apart(module, job)
            if absent := job.missing():
                raise AssertionError(f"stage {step.stage} ended without {', '.join(str(o.ref) for o in absent)}")
        except BaseException:
            progress.finish("ended")
            raise
        progress.finish("100%  " + ", ".join(str(output.ref) for output in step.outputs))


def _run_apart(module: ModuleType, job: JobContext) -> None:
    """Runs the stage in a thread, so that the main thread is free for signals: Ray Train would take SIGINT for itself.

    A KeyboardInterrupt leaves the thread behind; the row is another's by then, so it can publish nothing any more.
    """
    raised: list[BaseException] = []

    def call() -> None:
        try:
            module.run(job)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            raised.append(error)

    thread = threading.Thread(target=call, name="raylens-stage", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.5)
    if raised:
        raise raised[0]


def _runs_inputs(step: Step) -> bool:
    return bool(getattr(stage_module(step.stage), "RUNS_INPUTS", False))


def _run_inner(session: Session, config: StageConfig, parent: str) -> None:
    """A stage of a pipeline. On a running cluster it is a Ray job of its own."""
    if session.stop():
        raise Stopped
    if session.place.own or _done(session, session.planner.step(config)):
        ended = execute(session, config)
    else:
        from jobs.life.ray_jobs import run_as_ray_job

        ended = run_as_ray_job(session, config)
    if ended.state == "CANCELLED" or (session.stop() and ended.state in LIVE):
        raise Stopped(ended.message)
    if ended.state != "SUCCEEDED":
        lost = Failure("lost", f"{config.stage} job {ended.job_id} ended {ended.state}", True, True)
        raise JobFailed(ended.failure or lost)


def _attach(
    session: Session, step: Step, row: Submission, submit: Callable[[], Submission]
) -> tuple[Ended | None, Submission]:
    """Waits for a job that another process runs, and ends as it does. A stop ends the waiting, not the job.

    If that process is gone, the job's next attempt is ours: (None, its submission).
    """
    job_id = row.job_id
    session.say(f"{step.stage:<9} an equal job, {job_id}, is running already: waiting for its end")
    progress = Progress(step.stage)
    phase: tuple[int | None, str | None] | None = None
    try:
        while (job := session.records.job(job_id)).live:
            if job.total and (job.total, job.unit) != phase:
                phase = (job.total, job.unit)
                progress.start(f"job {job_id}", job.total, job.unit or "", job.done or 0)
            progress.update(job.done or 0)
            progress.tick()
            if session.stop.wait(ATTACH_SECONDS):
                message = f"no longer waiting; job {job_id} goes on (`python -m jobs stop {job_id}` ends it)"
                return Ended(job_id, str(job.state), [], message), row
            if time.time() - session.records.attempts(job_id)[-1].heartbeat > SUSPECT_SECONDS:
                row = submit()  # finds out whether the process is gone
                if row.created:
                    return None, row
    finally:
        progress.finish("no longer attached")
    if job.state == "SUCCEEDED":
        return Ended(job_id, "SUCCEEDED", list(job.outputs)), row
    failure = Failure(job.code or "failed", job.message or "", job.retryable, True) if job.state == "FAILED" else None
    return Ended(job_id, str(job.state), [], f"{step.stage}: {job.message or 'it ended'}", failure), row


def _done(session: Session, step: Step) -> bool:
    return all(session.store.manifest(output.ref) is not None for output in step.outputs)


def _refuse(session: Session, step: Step) -> Ended | None:
    """Records a job that can never fit as FAILED, before any of its inputs is made. None if it may fit."""
    need = requirement_of(session, step)
    try:
        check_ever(session, step, need)
        return None
    except CannotFit:
        return run_step(session, step)  # finds the same again, with a row to say it in


def _check_given(session: Session, steps: list[Step]) -> None:
    absent = sorted({str(ref) for step in steps for ref in step.given if session.store.manifest(ref) is None})
    if absent:
        raise MissingInput(
            f"the store {session.store.url} has no {', '.join(absent)}: give an id that exists there, "
            "or the config of the stage that makes it"
        )


def _log_file(session: Session, job_id: str) -> Path:
    folder = session.home / "logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{job_id}.log"


def _write_trace(log: Path, error: BaseException) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))


@contextmanager
def _scratch(session: Session, job_id: str, attempt: int) -> Iterator[Path]:
    """A folder of the attempt's own, on the disk of RAYLENS_HOME so that a local store takes files over by renaming."""
    import psutil

    parent = session.home / "scratch"
    parent.mkdir(exist_ok=True)
    for left in parent.glob("*-*"):  # of drivers that were killed hard
        pid = left.name.rpartition("-")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{job_id}-a{attempt}-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
