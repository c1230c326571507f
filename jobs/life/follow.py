"""Submits a job and follows it to its end: its log as it is written, its bar, its state."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from cluster.catalog import DISPATCHER, CatalogUnreachable, IllegalMove, JobRow
from configs.base import StageConfig
from configs.load import ConfigError
from configs.stages import STAGES
from jobs.life.control import needed_only_by, request_end
from jobs.life.driver_setup import log_file
from jobs.life.outcome import Failure, Outcome
from jobs.life.progress_bar import bar_for
from jobs.life.session import Session
from jobs.life.submit import environment_for, submit

POLL_S = 0.5
_IS_LINE = re.compile(rb"^\d\d:\d\d:\d\d ")  # a traceback has no time: it is for the log file alone
_IS_PROGRESS = re.compile(rb"^\d\d:\d\d:\d\d \w+ +\[[^\]]+\] [\d,]+/[\d,]+ ")
End = Literal["stop", "cancel"]


def request(session: Session, config: StageConfig, detach: bool = False) -> Outcome:
    """Records the job and those of its inputs that do not exist, and follows them to their end, unless `detach`.

    On a cluster with a dispatcher that one runs them; else this process does. A stop or cancel of this process becomes
    one of the jobs.
    """
    local = not session.dispatched
    if local and detach:
        raise ConfigError(
            "--detach needs a cluster that `python -m cluster up` started: without one, this process runs the job"
        )
    submitted = submit(
        session.catalog,
        session.store,
        config,
        profile=session.profile if local else session.profile_name,
        wait_s=session.wait,
        created_by=session.user,
        environment=environment_for(session.catalog, session.store),
        planner=session.planner,
        drive=local,
    )
    outcome = Outcome(submitted.job_id, submitted.state, submitted.artifacts)
    if not submitted.jobs:
        session.say(f"{config.stage:<9} done already: {', '.join(submitted.artifacts)}")
        return outcome
    if detach:
        session.say(
            f"{config.stage:<9} job {outcome.job_id} is recorded; `python -m jobs logs {outcome.job_id} --follow` shows it"
        )
        return outcome
    if not submitted.created:
        session.say(f"{config.stage:<9} an equal job, {outcome.job_id}, is running already: waiting for its end")
    return Follower(session, outcome.job_id, submitted.jobs, _dispatcher(session, submitted.own, submitted.jobs)).run()


class JobDispatcher(Protocol):
    """Who runs the jobs that are followed."""

    def tick(self) -> None:
        """Called again and again."""

    def wait(self, seconds: float) -> None:
        """Sleeps, but not past a stop."""

    def ending(self, job_id: str) -> set[str]:
        """The jobs whose end is to be waited for, of which `job_id` is followed."""

    def request_end(self, job_id: str, how: End) -> None:
        """Hands a stop or cancel of this process on to the job."""


def _dispatcher(session: Session, own: Sequence[str], jobs: Sequence[str]) -> JobDispatcher:
    if session.dispatched:
        return RemoteDispatcher(session)
    from jobs.life.local_dispatcher import LocalDispatcher

    return LocalDispatcher(session, own, jobs)


class RemoteDispatcher:
    """The dispatcher of a running cluster. This process only says so when it does not answer."""

    def __init__(self, session: Session) -> None:
        self._session, self._catalog = session, session.catalog
        self._ending: set[str] = set()
        self._answered = True

    def tick(self) -> None:
        """Says once that the dispatcher holds its lease no more."""
        lease = self._catalog.lease_row(DISPATCHER)
        answers = lease is not None and lease.held
        if self._answered and not answers:
            self._session.say(
                "the cluster does not answer: its rows stay, and `python -m cluster up` goes on with them"
            )
        self._answered = answers

    def wait(self, seconds: float) -> None:
        """Sleeps, but not past the first stop."""
        if self._ending or not self._session.stop.wait(seconds):
            time.sleep(seconds if self._ending else 0)

    def ending(self, job_id: str) -> set[str]:
        """The job; after a stop, those too that live for this job alone."""
        return {job_id} | self._ending

    def request_end(self, job_id: str, how: End) -> None:
        """Through the rows: the drivers obey."""
        self._ending |= {job_id} | needed_only_by(self._catalog, job_id)
        with suppress(IllegalMove):  # it has just ended
            request_end(self._catalog, job_id, how)


class Follower:
    """Shows what the jobs of one request do until the requested one has ended."""

    def __init__(self, session: Session, job_id: str, jobs: Sequence[str], dispatcher: JobDispatcher) -> None:
        self._session, self._job_id, self._jobs, self._dispatcher = session, job_id, jobs, dispatcher
        self._logs = {job: LogTail(log_file(session.home, job)) for job in jobs}
        self._messages: dict[str, str] = {}
        self._ended: dict[str, JobRow] = {}
        self._catalog_answers = True
        self._requested: End | None = None
        self._bar = bar_for(sys.stderr)
        self._phase: tuple[str, str | None, int | None] | None = None

    def run(self) -> Outcome:
        """Returns once the job has ended. A second stop becomes a cancel."""
        try:
            self._follow()
            for row in self._rows().values():  # what was written last
                self._show(row)
        finally:
            if self._bar is not None:
                self._bar.close()
        return self._outcome(self._session.catalog.job(self._job_id))

    def _follow(self) -> None:
        try:
            while not self._step():
                if self._session.stop():
                    self._request_end("stop")
                self._dispatcher.wait(POLL_S)
        except KeyboardInterrupt:  # the second one
            self._request_end("cancel")
            while not self._step():
                self._dispatcher.wait(POLL_S)

    def _step(self) -> bool:
        """One pass: what the dispatcher does, and what there is to show. True once all that is waited for has ended."""
        try:
            self._dispatcher.tick()
            ending, rows = self._dispatcher.ending(self._job_id), self._rows()
        except CatalogUnreachable as error:  # a busy database may recover, and the job goes on
            if self._catalog_answers:
                self._say(f"the catalog does not answer, trying again: {error}")
            self._catalog_answers = False
            return False
        self._catalog_answers = True
        for row in rows.values():
            self._show(row)
        return not any(row.live for row in rows.values() if row.id in ending)

    def _rows(self) -> dict[str, JobRow]:
        live = {job.id: job for job, _ in self._session.catalog.live()}
        for job in self._jobs:
            if job in live:
                self._ended.pop(job, None)
            elif job not in self._ended:
                self._ended[job] = self._session.catalog.job(job)
        return {job: live.get(job) or self._ended[job] for job in self._jobs}

    def _request_end(self, how: End) -> None:
        if self._requested != how:
            self._requested = how
            self._dispatcher.request_end(self._job_id, how)

    def _show(self, row: JobRow) -> None:
        for line in self._logs[row.id].lines():
            if _IS_LINE.match(line) and (self._bar is None or not _IS_PROGRESS.match(line)):
                self._say(line[len("00:00:00 ") :].decode(errors="replace"))
        waits = row.state in ("QUEUED", "WAITING") and (row.blocked or {}).get("kind") != "inputs"
        if row.message and waits and self._messages.get(row.id) != row.message:
            self._messages[row.id] = row.message
            self._say(f"{row.stage:<9} job {row.id}: {row.message}")
        if self._bar is not None and row.total and not STAGES[row.stage].runs_inputs:
            self._show_bar(row)

    def _show_bar(self, row: JobRow) -> None:
        assert self._bar is not None
        phase = (row.id, row.phase or row.unit, row.total)
        if row.state == "RUNNING" and phase != self._phase:
            self._phase = phase
            self._bar.start(row.stage, row.phase or "", row.total or 0, row.unit or "", row.done or 0)
        elif row.state in ("RUNNING", "SUCCEEDED") and phase == self._phase:
            self._bar.update(row.done or 0)

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.print(line)
        else:
            self._session.say(line)

    def _outcome(self, row: JobRow) -> Outcome:
        if row.state == "SUCCEEDED":
            return Outcome(row.id, "SUCCEEDED", list(row.outputs))
        if row.live:
            message = f"no longer waiting; job {row.id} goes on (`python -m jobs stop {row.id}` ends it)"
            return Outcome(row.id, str(row.state), [], message)
        failure = Failure(row.code or "failed", row.message or "", True) if row.state == "FAILED" else None
        message = (row.message or "") if failure is not None else f"{row.stage}: {row.message or row.state}"
        return Outcome(row.id, str(row.state), [], message, failure)


class LogTail:
    """Whole lines of a file that may not be there yet, each once."""

    def __init__(self, path: Path, from_start: bool = False) -> None:
        self._path = path
        self._at = 0 if from_start or not path.exists() else path.stat().st_size

    def lines(self) -> list[bytes]:
        """What came since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._at += len(whole)
        return whole.splitlines()
