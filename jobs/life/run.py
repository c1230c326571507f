"""The life of a job in its driver: submit, see whether it is done already, wait for a place, run, record how it ended.

The row is committed before the work starts and says SUCCEEDED only after the artifacts have appeared.
"""

from __future__ import annotations

import os
from contextlib import suppress

from cluster.records import LIVE, CancelPending, IllegalMove, StaleAttempt, Submission
from configs.base import StageConfig
from configs.requirements import Requirement
from jobs.life.admission import CannotFit, admit, check_ever, requirement_of
from jobs.life.attach import attach
from jobs.life.context import Stopped, named_inputs
from jobs.life.ended import Ended
from jobs.life.failure import Failure, JobFailed, failure_of
from jobs.life.folders import log_file, write_trace
from jobs.life.resolve import Step, resolve_auto
from jobs.life.session import RAY_JOB, Session
from jobs.life.work import runs_inputs, work
from jobs.stages import stage_module

# What later stages read of an artifact's own inputs, by the ids in its manifest: an SAE's model and tokens, and so on.
READ_THROUGH = frozenset({"model", "tokens", "sae"})


class MissingInput(ValueError):
    """An input that the config names by id does not exist."""


def execute(session: Session, config: StageConfig) -> Ended:
    """Runs a stage, its missing inputs first, each as a recorded job. Raises ValueError for what is wrong before."""
    config = resolve_auto(config, session.profile.device)
    steps = session.planner.plan(config)
    target = steps[-1]
    missing = _missing(session, steps)
    if missing:
        for step in reversed(steps):  # the stage that was asked for speaks first
            ended = _refuse(session, step) if step in missing else None
            if ended is not None and ended.state != "SUCCEEDED":
                return ended
        _check_given(session, steps)
    if not runs_inputs(target):
        for step in missing:
            if step is not target:
                ended = run_step(session, step)
                if ended.state != "SUCCEEDED":
                    return ended
    return run_step(session, target)


def _missing(session: Session, steps: list[Step]) -> list[Step]:
    """The steps to run for the last one: it, and what those to run, or those that read through it, stand on.

    A deleted cache whose SAEs are there is not made again.
    """
    made = {output.ref: step for step in steps for output in step.outputs}
    done = {step.fingerprint: _done(session, step) for step in steps}
    needed: set[str] = set()
    seen: set[str] = set()

    def visit(step: Step) -> None:
        if step.fingerprint in seen:
            return
        seen.add(step.fingerprint)
        if not done[step.fingerprint]:
            needed.add(step.fingerprint)
        for role, refs in step.inputs.items():
            if not done[step.fingerprint] or role in READ_THROUGH:
                for ref in refs:
                    if ref in made:
                        visit(made[ref])

    if not done[steps[-1].fingerprint]:
        visit(steps[-1])
    return [step for step in steps if step.fingerprint in needed]


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
            requirement={
                **need.model_dump(mode="json"),
                "cluster": session.cluster,
                "ray_job": os.environ.get(RAY_JOB),
            },
            outputs=[str(output.ref) for output in step.outputs],
            inputs=named_inputs(step.inputs),
            created_by=session.user,
            artifacts_gone=not done,
        )

    row = submit()
    if row.live and not row.created:
        ended, row = attach(session, step, row, submit)
        if ended is not None:
            return ended
    if row.created:
        return _drive(session, step, need, row.job_id, row.attempt)
    session.say(f"{step.stage:<9} done already: {', '.join(row.outputs)}")
    return Ended(row.job_id, "SUCCEEDED", list(row.outputs))


def _drive(session: Session, step: Step, need: Requirement, job_id: str, attempt: int) -> Ended:
    """Runs an attempt that is this process' own, and records its end whatever happens."""
    records, log = session.records, log_file(session.home, job_id)
    artifacts = [str(output.ref) for output in step.outputs]
    try:
        if _done(session, step):  # made under another catalog, or by a driver that died before it could say so
            records.progress(job_id, attempt, state="RUNNING")
        elif not admit(session, step, need, job_id, attempt):
            raise Stopped
        else:
            work(session, step, need, job_id, attempt, log, lambda config: _run_inner(session, config))
        records.finish(job_id, attempt, "SUCCEEDED")
        return Ended(job_id, "SUCCEEDED", artifacts)
    except (Stopped, CancelPending, IllegalMove, KeyboardInterrupt) as error:
        # IllegalMove: a cancel came between the last artifact and this end, so it cannot be called a success any more.
        code = "cancelled" if isinstance(error, KeyboardInterrupt) else "stopped"
        message = str(error) or f"{code}: the same command goes on from the last checkpoint"
        records.finish(job_id, attempt, "CANCELLED", code=code, message=message, resumable=True)
        return Ended(job_id, "CANCELLED", [], f"{step.stage}: {message}")
    except BaseException as error:
        with suppress(OSError):  # a full disk must not keep the end from being recorded
            write_trace(log, error)
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


def _run_inner(session: Session, config: StageConfig) -> None:
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


def _done(session: Session, step: Step) -> bool:
    return all(session.store.manifest(output.ref) is not None for output in step.outputs)


def _refuse(session: Session, step: Step) -> Ended | None:
    """Records a job that can never fit as FAILED, before any of its inputs is made. None if it may fit."""
    need = requirement_of(session, step)
    if (check := getattr(stage_module(step.stage), "check", None)) is not None:
        check(step.config, need)
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
