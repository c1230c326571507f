"""The life of a job in its driver: submit, see whether it is done already, wait for a place, run, record how it ended.

The row is committed before the work starts and says SUCCEEDED only after the artifacts have appeared.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from cluster.records import LIVE, AttemptRow, IllegalMove, JobRow, Records, Submission
from cluster.records.staleness import ChangeTimer
from configs.base import StageConfig
from configs.requirements import Fit, Requirement, fit
from configs.stages import STAGES
from jobs.life.admission import Action, Admitted, Decision, Pending, decide
from jobs.life.attempt import perform
from jobs.life.outcome import Failure, JobFailed, Outcome
from jobs.life.planner import Step, check_given, is_done, missing_steps, resolve_auto
from jobs.life.progress import Progress
from jobs.life.resource_demand import requirement_of_row, step_requirement, with_bytes
from jobs.life.session import RAY_JOB, Session
from jobs.life.stage_context import Stopped, named_inputs
from jobs.life.submit import environment_for
from jobs.stages import load_stage

POLL_SECONDS = 0.5
# Ray takes a moment to give back what the stage before held; only what lasts longer than this is waiting.
GRACE_SECONDS = 3.0


class CannotFit(RuntimeError):
    """The job can never run on this cluster. Names the need, the capacity and the most that would fit."""


class WaitedTooLong(RuntimeError):
    """The job fits, but not within the time that it may wait. Names the need, what is free and who holds the rest."""


def requirement_of(session: Session, step: Step) -> Requirement:
    """What a step asks for: the profile's word, the config's over it, and the bytes it will write if it can tell."""
    requirement = step_requirement(step, session.profile)
    return with_bytes(requirement, session.store, step.config, step.inputs, [output.ref for output in step.outputs])


def check_ever(session: Session, requirement: Requirement) -> None:
    """Raises CannotFit if no amount of waiting would help."""
    if not _asks(requirement):
        return
    verdict = fit(requirement, session.capacity())
    if verdict.fit is Fit.NEVER:
        raise CannotFit(f"it can never run here: it {verdict.reason}. {verdict.suggestion}")


def admit(session: Session, step: Step, requirement: Requirement, job_id: str, attempt: int) -> bool:
    """Waits until the job fits, then makes it RUNNING. False if it was asked to stop while it waited.

    Raises CannotFit, or WaitedTooLong after the session's `wait` seconds.
    """
    began = time.monotonic()
    waiting = False
    while not session.stop():
        decision = _try(session, step, requirement, job_id, attempt)
        if decision is None:
            return not session.stop()
        waited = time.monotonic() - began
        if waited > max(session.wait, GRACE_SECONDS if session.wait else 0):
            raise WaitedTooLong(waited_too_long(waited, decision))
        if not waiting and waited > GRACE_SECONDS:
            waiting = True
            message = f"waits at most {session.wait:.0f} s: it {decision.reason}"
            session.records.progress(job_id, attempt, state="WAITING", message=message)
            session.say(f"{step.stage:<9} {message}")
        elif waiting:
            session.records.progress(job_id, attempt)
        if session.records.cancel_requested(job_id, attempt):
            session.stop.set()
        session.stop.wait(POLL_SECONDS)
    return False


def waited_too_long(waited: float, decision: Decision) -> str:
    """What to say of a job whose time to wait is over."""
    return (
        f"it waited {waited:.0f} s for its turn: it {decision.reason}. "
        "Run it again when they have finished, or let it wait longer with --wait SECONDS"
    )


def _try(session: Session, step: Step, requirement: Requirement, job_id: str, attempt: int) -> Decision | None:
    """None once the job is RUNNING. Looking and granting are one step for all drivers of this home."""
    if not _asks(requirement):
        session.records.progress(job_id, attempt, state="RUNNING")
        return None
    with _gate(session.home):
        # Of two different jobs that make one artifact (an SAE, alone or with others), the second waits for the first.
        # What it then finds finished it does not do again.
        waiting = Pending(job_id, requirement, frozenset(str(output.ref) for output in step.outputs))
        (decision,) = decide([waiting], _holding(session, job_id), session.capacity())
        if decision.do is Action.REFUSE:
            raise CannotFit(f"it can never run here: it {decision.reason}")
        if decision.do is Action.START:
            session.records.progress(job_id, attempt, state="RUNNING")
            return None
        return decision


def _holding(session: Session, job_id: str) -> list[Admitted]:
    """Jobs that run. One whose process is gone holds nothing: its workers died with it.

    On another cluster it holds no machine of this one, but what it makes counts all the same.
    """
    held = []
    for row, attempt in session.records.live():
        runs = row.state in ("RUNNING", "CANCELLING") or attempt.granted_at is not None
        # A pipeline has its stages' artifacts made by their own jobs, of which this may be one.
        if row.id == job_id or not runs or STAGES[row.stage].runs_inputs or session.records.dead_driver(attempt):
            continue
        here = session.cluster in (row.requirement.get("cluster"), attempt.cluster)
        requirement = requirement_of_row(row.requirement) if here else Requirement(cpus=0)
        held.append(Admitted(row.id, row.stage, requirement, frozenset(row.outputs)))
    return held


def _asks(requirement: Requirement) -> bool:
    return requirement.needs_resources() or bool(requirement.store_bytes)


@contextmanager
def _gate(home: Path) -> Iterator[None]:
    with (home / "gate.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


POLL_SECONDS = 1.0
SUSPECT_SECONDS = 15.0  # a dispatcher writes more often what a job waits for; after this long there may be none


def attach(
    session: Session, step: Step, row: Submission, submit: Callable[[], Submission]
) -> tuple[Outcome | None, Submission]:
    """Waits for a job that another process runs, and ends as it does. A stop ends the waiting, not the job.

    If that process is gone, the job's next attempt is ours: (None, its submission).
    """
    job_id = row.job_id
    session.say(f"{step.stage:<9} an equal job, {job_id}, is running already: waiting for its end")
    progress = Progress(step.stage)
    phase: tuple[int | None, str | None] | None = None
    changes = ChangeTimer()
    try:
        while (job := session.records.job(job_id)).live:
            if job.total and (job.total, job.unit) != phase:
                phase = (job.total, job.unit)
                progress.start(f"job {job_id}", job.total, job.unit or "", job.done or 0)
            progress.update(job.done or 0)
            progress.tick()
            if session.stop.wait(POLL_SECONDS):
                message = f"no longer waiting; job {job_id} goes on (`python -m jobs stop {job_id}` ends it)"
                return Outcome(job_id, str(job.state), [], message), row
            if _suspect(session.records, job, session.records.attempts(job_id)[-1], changes):
                row = submit()  # finds out whether the process is gone
                if row.created:
                    return None, row
    finally:
        progress.finish("no longer attached")
    if job.state == "SUCCEEDED":
        return Outcome(job_id, "SUCCEEDED", list(job.outputs)), row
    failure = Failure(job.code or "failed", job.message or "", True) if job.state == "FAILED" else None
    return Outcome(job_id, str(job.state), [], f"{step.stage}: {job.message or 'it ended'}", failure), row


def _suspect(records: Records, job: JobRow, attempt: AttemptRow, changes: ChangeTimer) -> bool:
    """Whether the process that drives a job is gone, or nobody takes up the attempt that is due. No wall clock says."""
    if attempt.driven:
        return records.dead_driver(attempt) is not None
    return job.due and changes.unchanged_s(attempt.number, job.updated_at) > SUSPECT_SECONDS


def execute(session: Session, config: StageConfig) -> Outcome:
    """Runs a stage, its missing inputs first, each as a recorded job. Raises ValueError for what is wrong before."""
    config = resolve_auto(config, session.profile.device)
    steps = session.planner.plan(config)
    target = steps[-1]
    missing = missing_steps(steps, partial(is_done, session.store))
    if STAGES[target.stage].runs_inputs:  # it has its stages run one after the other, each as its own command would
        missing = [step for step in missing if step is target]
    if missing:
        for step in reversed(steps):  # the stage that was asked for speaks first
            ended = _refuse(session, step) if step in missing else None
            if ended is not None and ended.state != "SUCCEEDED":
                return ended
        check_given(session.store, steps)
    if not STAGES[target.stage].runs_inputs:
        for step in missing:
            if step is not target:
                ended = run_step(session, step)
                if ended.state != "SUCCEEDED":
                    return ended
    return run_step(session, target)


def run_step(session: Session, step: Step) -> Outcome:
    """Takes one job, whose inputs are there, to its end: at once if it is done, by waiting if another runs it."""
    done = is_done(session.store, step)
    # A job that is done needs no place, and a cluster should not be asked about it.
    requirement = Requirement() if done else requirement_of(session, step)

    def submit() -> Submission:
        return session.records.submit(
            stage=step.stage,
            fingerprint=step.fingerprint,
            config=step.config.model_dump(mode="json"),
            requirement={
                **requirement.model_dump(mode="json"),
                "cluster": session.cluster,
                "ray_job": os.environ.get(RAY_JOB),
            },
            outputs=[str(output.ref) for output in step.outputs],
            inputs=named_inputs(step.inputs),
            created_by=session.user,
            artifacts_gone=not done,
            profile=session.profile.name,
            environment=environment_for(session.records, session.store),  # its next attempt may be a dispatcher's
            wait_s=session.wait,
        )

    while True:
        row = submit()
        if row.live and not row.created:
            ended, row = attach(session, step, row, submit)
            if ended is not None:
                return ended
        if not row.created:
            session.say(f"{step.stage:<9} done already: {', '.join(row.outputs)}")
            return Outcome(row.job_id, "SUCCEEDED", list(row.outputs))
        ended = perform(
            session,
            step,
            requirement,
            row.job_id,
            row.attempt,
            partial(admit, session, step, requirement, row.job_id, row.attempt),
            partial(_run_inner, session),
        )
        if not _again(session, step, ended):
            return ended


def _again(session: Session, step: Step, ended: Outcome) -> bool:
    """True once the next attempt is due, if the failure is worth one. A stop while it waits ends the job."""
    row = session.records.job(ended.job_id)
    if ended.state != "FAILED" or not row.live or row.retry_at is None:
        return False
    session.say(f"{step.stage:<9} {ended.message}")
    session.say(f"{step.stage:<9} attempt {row.attempt} starts in {max(0.0, row.retry_at - time.time()):.0f} s")
    session.leave()  # the cluster may be what failed; one of its own is started again
    while not session.records.job(row.id).due:  # whatever is done to the clock meanwhile
        if not session.stop.wait(0.5):
            continue
        with suppress(IllegalMove):
            session.records.request_cancel(ended.job_id)
        return False
    return True


def _run_inner(session: Session, config: StageConfig) -> None:
    """A stage of a pipeline. On a running cluster it is a Ray job of its own."""
    if session.stop():
        raise Stopped
    if session.target.temporary or is_done(session.store, session.planner.step(config)):
        ended = execute(session, config)
    else:
        from jobs.life.ray_jobs import run_as_ray_job

        ended = run_as_ray_job(session, config)
    if ended.state == "CANCELLED" or (session.stop() and ended.state in LIVE):
        raise Stopped(ended.message)
    if ended.state != "SUCCEEDED":
        lost = Failure("driver_gone", f"{config.stage} job {ended.job_id} ended {ended.state}", True)
        raise JobFailed(ended.failure or lost)


def _refuse(session: Session, step: Step) -> Outcome | None:
    """Records a job that can never fit as FAILED, before any of its inputs is made. None if it may fit."""
    requirement = requirement_of(session, step)
    load_stage(step.stage).check(step.config, requirement)
    try:
        check_ever(session, requirement)
        return None
    except CannotFit:
        return run_step(session, step)  # finds the same again, with a row to say it in
