"""Asks the dispatcher for a job and follows it to its end: its log as it is written, its bar, its state. Starts no Ray."""

from __future__ import annotations

import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from cluster.records import DISPATCHER, IllegalMove, JobRow
from configs.base import StageConfig
from jobs.life.control import ask, needed_only_by
from jobs.life.outcome import Failure, Outcome
from jobs.life.process import log_file
from jobs.life.progress_bar import bar_for
from jobs.life.session import Session
from jobs.life.submit import environment_for, submit

POLL_S = 0.5
_IS_PROGRESS = re.compile(rb"^\d\d:\d\d:\d\d \w+ +\[[^\]]+\] [\d,]+/[\d,]+ ")


def request(session: Session, config: StageConfig, detach: bool = False) -> Outcome:
    """Records the job and what it stands on, and follows them, unless `detach`.

    A stop or cancel of this process is handed on to the job.
    """
    found = submit(
        session.records,
        session.store,
        config,
        profile=session.profile_name,
        wait_s=session.wait,
        created_by=session.user,
        environment=environment_for(session.records, session.store),
        planner=session.planner,
    )
    if not found.jobs:
        session.say(f"{config.stage:<9} done already: {', '.join(found.artifacts)}")
        return Outcome(found.job_id, found.state, found.artifacts)
    if detach:
        session.say(
            f"{config.stage:<9} job {found.job_id} is recorded; `python -m jobs logs {found.job_id} --follow` shows it"
        )
        return Outcome(found.job_id, found.state, found.artifacts)
    return Follower(session, found.job_id, found.jobs).run()


class Follower:
    """Shows what the jobs of one request do until the one that was asked for has ended."""

    def __init__(self, session: Session, job_id: str, jobs: list[str]) -> None:
        self._session, self._job_id, self._jobs = session, job_id, jobs
        self._logs = {job: LogTail(log_file(session.home, job)) for job in jobs}
        self._said: dict[str, str] = {}
        self._asked: Literal["stop", "cancel"] | None = None
        self._ending = {job_id}  # what is waited for: after a stop, those too that live for this job alone
        self._bar = bar_for(sys.stderr)
        self._phase: tuple[str, str | None, int | None] | None = None
        self._silent_said = False

    def run(self) -> Outcome:
        """Returns once the job has ended. A second stop becomes a cancel."""
        try:
            while True:
                over = self._over()
                rows = {job: self._session.records.job(job) for job in self._jobs}
                for row in rows.values():
                    self._show(row)
                if over:
                    return self._ended(rows[self._job_id])
                self._watch_dispatcher()
                if self._session.stop.wait(POLL_S):
                    self._hand_on("stop")
                    time.sleep(POLL_S)
        except KeyboardInterrupt:  # the second one
            self._hand_on("cancel")
            return self._wait_cancelled()
        finally:
            if self._bar is not None:
                self._bar.close()

    def _wait_cancelled(self) -> Outcome:
        while not self._over():
            self._watch_dispatcher()
            time.sleep(POLL_S)
        return self._ended(self._session.records.job(self._job_id))

    def _over(self) -> bool:
        return not any(self._session.records.job(job).live for job in self._ending)

    def _hand_on(self, how: Literal["stop", "cancel"]) -> None:
        if self._asked == how:
            return
        self._asked = how
        self._ending |= needed_only_by(self._session.records, self._job_id)
        with suppress(IllegalMove):  # it has just ended
            ask(self._session.records, self._job_id, how)

    def _show(self, row: JobRow) -> None:
        for line in self._logs[row.id].lines():
            if self._bar is None or not _IS_PROGRESS.match(line):
                self._say(line[len("00:00:00 ") :].decode(errors="replace"))
        if row.message and row.state in ("QUEUED", "WAITING") and self._said.get(row.id) != row.message:
            self._said[row.id] = row.message
            self._say(f"{row.stage:<9} job {row.id}: {row.message}")
        if self._bar is not None and row.state == "RUNNING" and row.total and not self._is_target_of_others(row):
            phase = (row.id, row.phase or row.unit, row.total)
            if phase != self._phase:
                self._phase = phase
                self._bar.start(row.stage, row.phase or "", row.total, row.unit or "", row.done or 0)
            self._bar.update(row.done or 0)

    def _is_target_of_others(self, row: JobRow) -> bool:
        return row.id == self._job_id and len(self._jobs) > 1 and row.unit == "stages"

    def _watch_dispatcher(self) -> None:
        lease = self._session.records.lease_row(DISPATCHER)
        silent = lease is None or not lease.held
        if silent and not self._silent_said:
            self._say("the cluster does not answer: its rows stay, and `python -m cluster up` goes on with them")
        self._silent_said = silent

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.print(line)
        else:
            self._session.say(line)

    def _ended(self, row: JobRow) -> Outcome:
        for job in self._jobs:  # what was written last
            self._show(self._session.records.job(job))
        if row.state == "SUCCEEDED":
            return Outcome(row.id, "SUCCEEDED", list(row.outputs))
        failure = Failure(row.code or "failed", row.message or "", True) if row.state == "FAILED" else None
        return Outcome(row.id, str(row.state), [], row.message or f"{row.stage}: it ended {row.state}", failure)


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
