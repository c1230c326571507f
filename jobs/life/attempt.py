"""Runs the stage of an attempt that was let in: its context, its progress, its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from configs.base import StageConfig
from configs.requirements import Requirement
from configs.stages import STAGES
from jobs.life.job_files import scratch_folder
from jobs.life.progress import Beat, Figures, Progress
from jobs.life.resolve import Step
from jobs.life.session import Session
from jobs.life.stage_context import JobContext
from jobs.stages import load_stage


def work(
    session: Session,
    step: Step,
    need: Requirement,
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
            requirement=need,
            progress=progress,
            stage_version=step.version,
            stop=session.stop,
            claim=lambda manifest: session.records.publish(job_id, attempt, manifest.model_dump(mode="json")),
            job_id=job_id,
            run_stage=run_stage,
        )
        try:
            with Beat(progress, write, lambda: session.records.cancel_requested(job_id, attempt), asked):
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
