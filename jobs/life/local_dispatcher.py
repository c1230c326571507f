"""A command without a dispatcher: it admits its own jobs and runs their attempts in this process, one at a time.

The pass is the dispatcher's (dispatcher.py). Several commands may share a home: a lock makes each pass one step for all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Literal

from filelock import FileLock

from cluster.catalog import AttemptRow, CatalogError, IllegalMove, JobRow
from cluster.catalog.change_timer import ChangeTimer
from jobs.life.attempt import AttemptThread, end_cancelled
from jobs.life.control import request_end
from jobs.life.dispatcher import Admission, Cluster
from jobs.life.session import Session

# Ray takes a moment to give back what the stage before used; only what lasts longer than this is waiting.
PATIENCE_S = 3.0
BUSY_S = 10.0  # between passes while an attempt runs: they start nothing, but end what was cancelled, and say who lives
UNDRIVEN_S = 15.0  # a dispatcher starts a job that is due within this time; after it there may be none


class LocalDispatcher:
    """Admits and runs the jobs `own`, which this process has submitted to drive them. Follows the others of its request."""

    def __init__(self, session: Session, own: Sequence[str], jobs: Sequence[str]) -> None:
        self._session, self._catalog = session, session.catalog
        self._own, self._jobs = set(own), jobs
        self._running: AttemptThread | None = None
        self._granted: JobRow | None = None
        self._last_pass = -BUSY_S
        self._changes = ChangeTimer()
        self._admission = Admission(
            session.catalog, Cluster(session.cluster), self, session.store, self._is_own, patience_s=PATIENCE_S
        )

    def tick(self) -> None:
        """Ends an attempt that has come to its end, makes a pass, starts the attempt that was granted in it."""
        if self._running is not None and self._running.wait(0):
            ended, self._running = self._running, None
            if self._catalog.job(ended.job.id).live:  # its next attempt is due: the cluster may be what failed
                self._session.leave()
        now = time.monotonic()
        if self._running is not None and now - self._last_pass < BUSY_S:
            return
        self._last_pass = now
        with FileLock(self._session.home / "admission.lock"):
            self._take_over()
            free = self._admission.begin()
            self._admission.run(cache(lambda: self._session.capacity()._replace(store_free=free)))
        if self._granted is not None:
            job, self._granted = self._granted, None
            self._running = AttemptThread(self._session, job, to_log=True)
            self._running.start()

    def wait(self, seconds: float) -> None:
        """Sleeps, but not past a stop nor past the end of the attempt that runs."""
        if self._running is not None:
            self._running.wait(seconds)
        elif self._session.stop.wait(seconds):
            time.sleep(0.05)

    def ending(self, job_id: str) -> set[str]:
        """The jobs whose end is to be waited for: those that were requested to end, and the one that runs."""
        own = {job.id for job, _ in self._catalog.live() if job.id in self._own and job.state == "CANCELLING"}
        running = {self._running.job.id} if self._running is not None else set()
        return own | running | ({job_id} if job_id in self._own or not self._session.stop() else set())

    def request_end(self, job_id: str, how: Literal["stop", "cancel"]) -> None:
        """Requests all jobs of this process to end. Another process' job goes on, and is waited for no longer."""
        if how == "cancel" and self._running is not None:
            running, self._running = self._running, None
            running.abandon()
            end_cancelled(self._session, running.job, "cancelled")
        if job_id in self._own:
            with suppress(IllegalMove):  # it has just ended
                request_end(self._catalog, job_id, how)
        for own in self._own:
            with suppress(IllegalMove):
                self._catalog.request_cancel(own, how)
        self._last_pass = -BUSY_S

    # The launcher of the pass.

    def ready(self) -> bool:
        """True while no attempt runs."""
        return self._running is None and self._granted is None and not self._session.stop()

    def ray_job(self, job: JobRow) -> None:
        """None: it runs in this process."""
        return

    def start(self, job: JobRow) -> None:
        """The attempt, RUNNING now, starts after the pass."""
        self._granted = job

    def _is_own(self, job: JobRow, attempt: AttemptRow) -> bool:
        if job.id not in self._own or attempt.granted_at is not None or not attempt.driven:
            return False
        if self._running is not None:
            self._catalog.progress(job.id, job.attempt)  # a sign of life
        return True

    def _take_over(self) -> None:
        """Makes jobs of this request its own that nobody drives any more: a retry, or one whose process is gone."""
        for job, attempt in self._catalog.live():
            if job.id in self._jobs and self._is_left(job, attempt):
                with suppress(CatalogError):
                    taken = self._catalog.submit(
                        stage=job.stage,
                        fingerprint=job.fingerprint,
                        config=job.config,
                        requirement=job.requirement,
                        outputs=job.outputs,
                        inputs=job.inputs,
                        created_by=job.created_by,
                        profile=job.profile,
                        environment=job.environment,
                        wait_s=job.wait_s,
                        parent=job.parent,
                        artifacts_gone=True,
                    )
                    if taken.created:
                        self._own.add(job.id)

    def _is_left(self, job: JobRow, attempt: AttemptRow) -> bool:
        if attempt.driven:
            return self._catalog.dead_driver(attempt) is not None
        if not job.due or job.state == "CANCELLING":
            return False
        return job.id in self._own or self._changes.unchanged_s(attempt.number, job.updated_at) > UNDRIVEN_S
