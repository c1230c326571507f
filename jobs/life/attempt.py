"""One attempt of one job in the process that drives it: from its claimed row to the record of how it ended."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from cluster.catalog import CancelPending, Catalog, CatalogUnreachable, IllegalMove, JobRow, StaleAttempt
from cluster.machines.scheduling_messages import explain
from configs.load import parse_config
from configs.requirements import Fit, fit
from jobs.life.driver_setup import curves_file, log_file, log_traceback, scratch_folder
from jobs.life.outcome import Failure, Outcome, delay, failure_of, root_cause, tries_for
from jobs.life.planner import Step, is_done
from jobs.life.progress import Figures, Heartbeat, Progress
from jobs.life.resource_demand import requirement_of_row, with_bytes
from jobs.life.session import Session
from jobs.life.stage_context import JobContext, Stopped, grouped_inputs
from jobs.stages import load_stage

# For how long recording a success is repeated while the catalog does not answer. Each call waits half a minute itself.
SUCCESS_PATIENCE_S = 600.0
PAUSE_S = 1.0


class SourceChanged(ValueError):
    """The source that a job reads is no longer what it was when the job was recorded."""


class AttemptThread:
    """Runs a claimed attempt beside the main thread, which stays free for signals: Ray Train would take SIGINT for itself.

    `to_log`: its lines go to the job's log file; else to standard error, which is the log of a driver process.
    """

    def __init__(self, session: Session, job: JobRow, to_log: bool) -> None:
        self.job, self.outcome = job, Outcome(job.id, "FAILED", [], f"{job.stage}: its thread was left")
        self.abandoned = threading.Event()
        self._session, self._to_log = session, to_log
        self._thread = threading.Thread(target=self._run, name="raylens-attempt", daemon=True)
        modules = load_stage(job.stage).imports
        self._imports = threading.Thread(target=_import_ahead, args=(modules,), name="raylens-imports", daemon=True)

    def start(self) -> None:
        """Connects to the cluster, here, as signal handlers belong to the main thread; then runs the attempt."""
        import ray  # noqa: F401 - before the thread, so that the two import nothing of each other's

        self._imports.start()
        try:
            self._session.connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, the row must say how it ended
            self.outcome = _failed(self._session, self.job, error)
            return
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Waits at most so long; True once the attempt has ended."""
        if self._thread.ident is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Leaves it behind: its workers end, and what its thread still does changes nothing once its row has ended."""
        self.abandoned.set()
        self._session.leave()

    def _run(self) -> None:
        self._imports.join()  # two threads that import parts of one package can each find the other's half done
        self.outcome = run_attempt(self._session, self.job, self._to_log, self.abandoned)


def _import_ahead(modules: tuple[str, ...]) -> None:
    """Imports modules beside the start of a cluster. What fails here fails again, and is reported, where it is used."""
    for name in modules:
        with suppress(Exception):
            import_module(name)


def run_attempt(
    session: Session, job: JobRow, to_log: bool = False, abandoned: threading.Event | None = None
) -> Outcome:
    """Runs an attempt that this process has claimed, and records its end whatever happens."""
    try:
        if session.stop():
            raise Stopped
        step = _planned(session, job)
        if not is_done(
            session.store, step
        ):  # else made under another catalog, or by a driver that died before it recorded that
            _run_stage(session, step, job, log_file(session.home, job.id) if to_log else None, abandoned)
        _succeed(session.catalog, job)
        return Outcome(job.id, "SUCCEEDED", [str(output.ref) for output in step.outputs])
    except (Stopped, CancelPending, IllegalMove) as error:
        # IllegalMove: a cancel came between the last artifact and this end, so it cannot be called a success any more.
        return end_cancelled(session, job, "stopped", str(error))
    except BaseException as error:  # noqa: BLE001 - the row must say how it ended
        if abandoned is not None and abandoned.is_set():
            # Its cluster was taken away beneath it. Who abandoned it records how it ended: as cancelled, not as failed.
            return Outcome(job.id, "CANCELLED", [], f"{job.stage}: cancelled")
        return _failed(session, job, error)


def _planned(session: Session, job: JobRow) -> Step:
    step = session.planner.step(parse_config(job.stage, job.config, job.id))
    if step.fingerprint != job.fingerprint or [str(output.ref) for output in step.outputs] != list(job.outputs):
        raise SourceChanged(
            f"what {job.stage} job {job.id} was to make is no longer what its config makes: a source has changed, or the "
            "code has; submit it again"
        )
    return step


def end_cancelled(session: Session, job: JobRow, code: str, message: str = "") -> Outcome:
    """Records that an attempt was requested to end and has."""
    message = message or f"{code}: the same command goes on from the last checkpoint"
    with suppress(StaleAttempt):  # it has just ended otherwise
        session.catalog.finish(job.id, job.attempt, "CANCELLED", code=code, message=message, resumable=True)
    return Outcome(job.id, "CANCELLED", [], f"{job.stage}: {message}")


def _failed(session: Session, job: JobRow, error: BaseException) -> Outcome:
    """Records why an attempt failed and, if that is worth it, its next attempt in the same transaction."""
    log = None
    with suppress(OSError):  # a full disk must not keep the end from being recorded
        log = log_file(session.home, job.id)
        log_traceback(log, error)
    return _record_failure(session.catalog, job, error, _explained(session, job, error, log))


def not_begun(catalog: Catalog, job: JobRow, error: Exception) -> Outcome:
    """Records why the process that claimed an attempt cannot even begin: a store or a home that it cannot use."""
    failure = failure_of(error)
    failure = failure._replace(message=f"{job.stage}: its driver process cannot begin: {failure.message}")
    return _record_failure(catalog, job, error, failure)


def _succeed(catalog: Catalog, job: JobRow) -> None:
    """Records a success. The artifacts exist, so a catalog that does not answer for a while makes no failure of it."""
    until = time.monotonic() + SUCCESS_PATIENCE_S
    while True:
        try:
            catalog.finish(job.id, job.attempt, "SUCCEEDED")
            return
        except CatalogUnreachable:
            if time.monotonic() > until:
                raise
        time.sleep(PAUSE_S)


def _record_failure(catalog: Catalog, job: JobRow, error: BaseException, failure: Failure) -> Outcome:
    if not isinstance(error, StaleAttempt):  # then the row is another's
        tries = catalog.job(job.id).retries + 1
        again = isinstance(error, Exception) and tries < tries_for(failure.code)
        catalog.finish(
            job.id,
            job.attempt,
            "FAILED",
            code=failure.code,
            message=failure.message,
            retryable=failure.retryable,
            resumable=True,
            retry_at=time.time() + delay(tries) if again else None,
        )
    return Outcome(job.id, "FAILED", [], failure.message, failure)


def _explained(session: Session, job: JobRow, error: BaseException, log: Path | None) -> Failure:
    failure = failure_of(error)
    if failure.code == "unschedulable":  # it was admitted, and Ray then had no node for it: Ray names no capacity
        requirement, capacity = requirement_of_row(job), session.capacity()
        code = "cannot_fit" if fit(requirement, capacity).fit is Fit.NEVER else failure.code
        failure = failure._replace(code=code, message=explain(root_cause(error), requirement, capacity))
    if not failure.expected:
        see = f"; see {log}" if log is not None else ""
        return failure._replace(message=f"{job.stage}: {failure.message} (this is a fault of RayLens{see})")
    return failure._replace(message=f"{job.stage}: {failure.message}")


def _run_stage(session: Session, step: Step, job: JobRow, log: Path | None, abandoned: threading.Event | None) -> None:
    """Returns once all artifacts of the step exist. Raises what the stage raises, Stopped among it."""
    progress = Progress(step.stage, sys.stderr, log, curves_file(session.home, job.id))
    refs = [output.ref for output in step.outputs]

    def write(now: Figures) -> None:
        # The last unit is recorded by the end alone: 100% is shown after the artifact has appeared.
        done = min(now.done, max(0, now.total - 1)) if now.total else None
        session.catalog.progress(
            job.id,
            job.attempt,
            done=done,
            total=now.total or None,
            unit=now.unit,
            rate=now.rate,
            phase=now.phase or None,
            durable=now.durable,
        )

    def obey(how: str) -> None:
        if abandoned is not None and abandoned.is_set():
            return
        progress.log(f"{how} requested: " + ("finishing the block" if how == "stop" else "ending now"))
        if how == "stop":
            session.stop.set()
        else:
            session.stop.end_now()

    with scratch_folder(session.home, job.id, job.attempt) as scratch:
        requirement = requirement_of_row(job)
        context = JobContext(
            config=step.config,
            outputs=step.outputs,
            store=session.store,
            scratch=scratch,
            inputs=step.inputs,
            fingerprint=step.fingerprint,
            attempt=job.attempt,
            requirement=with_bytes(requirement, session.store, step.config, grouped_inputs(job.inputs), refs),
            progress=progress,
            stage_version=step.version,
            stop=session.stop,
            claim=lambda manifest: session.catalog.publish(job.id, job.attempt, manifest.model_dump(mode="json")),
            job_id=job.id,
        )
        try:
            with Heartbeat(progress, write, lambda: session.catalog.cancel_requested(job.id, job.attempt), obey):
                load_stage(step.stage).run(context)
            if absent := context.missing():
                raise AssertionError(f"stage {step.stage} ended without {', '.join(str(o.ref) for o in absent)}")
        except BaseException:
            progress.finish("ended")
            raise
        progress.finish("  ".join(["100%", *map(str, refs)]), complete=True)
