"""The driver of an attempt that the dispatcher granted: `python -m jobs drive JOB ATTEMPT`, in a Ray job of its own."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from cluster.records import CancelPending, JobRow, open_records
from configs.base import StageConfig
from configs.load import parse_config
from jobs.life.attempt import cancelled, failed, not_begun, perform
from jobs.life.outcome import Outcome
from jobs.life.process import StopFlag, captured_output, install, log_file
from jobs.life.resource_demand import requirement_of_row, with_bytes
from jobs.life.session import Session
from jobs.life.stage_context import grouped_inputs


class SourceChanged(ValueError):
    """What a job was asked to read is no longer what it was when the job was recorded."""


def drive(job_id: str, attempt: int) -> Outcome:
    """Claims the attempt, runs it, records its end. Raises RecordsError if it is not this process' to drive."""
    stop = StopFlag()
    install(stop)
    records = open_records()
    try:
        job = records.claim(job_id, attempt)
    except CancelPending as error:  # the dispatcher says CANCELLED once this process is gone too
        return Outcome(job_id, "CANCELLED", [], str(error))
    with ExitStack() as opened:
        try:
            session = opened.enter_context(Session(job.profile, job.wait_s, stop, records=records))
            opened.enter_context(captured_output(log_file(session.home, job_id)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the row must say how it ended
            return not_begun(records, job, error)
        print(f"{job.stage:<9} attempt {attempt} of job {job_id}", file=sys.stderr, flush=True)
        return _run(session, job)


def _run(session: Session, job: JobRow) -> Outcome:
    try:
        config = parse_config(job.stage, job.config, job.id)
        step = session.planner.step(config)
        if step.fingerprint != job.fingerprint or [str(output.ref) for output in step.outputs] != list(job.outputs):
            raise SourceChanged(
                f"what {job.stage} job {job.id} was asked to make is no longer what its config makes: a source has "
                "changed, or the code has; ask for it again"
            )
        requirement = with_bytes(
            requirement_of_row(job.requirement),
            session.store,
            config,
            grouped_inputs(job.inputs),
            [output.ref for output in step.outputs],
        )
    except KeyboardInterrupt as error:
        return cancelled(session, job.stage, job.id, job.attempt, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the row must say how it ended
        return failed(session, job.stage, job.id, job.attempt, error)

    def admitted() -> bool:  # the dispatcher did that
        session.connect()
        return not session.stop()

    return perform(session, step, requirement, job.id, job.attempt, admitted, _no_other, dispatched=True)


def _no_other(config: StageConfig) -> None:
    raise AssertionError(f"a driver runs one stage, not {config.stage} too: the dispatcher starts that one's own")
