"""The life of a job in its driver: submit, see whether it is done already, wait for a place, run, record how it ended.

The row is committed before the work starts and says SUCCEEDED only after the artifacts have appeared.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial

from cluster.records import LIVE, IllegalMove, Submission
from configs.base import StageConfig
from configs.requirements import Requirement
from configs.stages import STAGES
from jobs.life.admission import CannotFit, admit, check_ever, requirement_of
from jobs.life.failure import Failure, JobFailed
from jobs.life.outcome import Ended
from jobs.life.perform import perform
from jobs.life.plan import check_given, is_done, missing_steps
from jobs.life.resolve import Step, resolve_auto
from jobs.life.session import RAY_JOB, Session
from jobs.life.stage_context import Stopped, named_inputs
from jobs.life.submit import environment_for
from jobs.life.wait_for_job import attach
from jobs.stages import load_stage


def execute(session: Session, config: StageConfig) -> Ended:
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


def run_step(session: Session, step: Step) -> Ended:
    """Takes one job, whose inputs are there, to its end: at once if it is done, by waiting if another runs it."""
    done = is_done(session.store, step)
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
            return Ended(row.job_id, "SUCCEEDED", list(row.outputs))
        ended = perform(
            session,
            step,
            need,
            row.job_id,
            row.attempt,
            partial(admit, session, step, need, row.job_id, row.attempt),
            partial(_run_inner, session),
        )
        if not _again(session, step, ended):
            return ended


def _again(session: Session, step: Step, ended: Ended) -> bool:
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


def _refuse(session: Session, step: Step) -> Ended | None:
    """Records a job that can never fit as FAILED, before any of its inputs is made. None if it may fit."""
    need = requirement_of(session, step)
    load_stage(step.stage).check(step.config, need)
    try:
        check_ever(session, need)
        return None
    except CannotFit:
        return run_step(session, step)  # finds the same again, with a row to say it in
