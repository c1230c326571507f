"""Compares the rows of live jobs with the processes that run: a job whose process is gone gets its next attempt, or ends.

No live process is declared dead: one of this machine is looked up by its id and start, not guessed from silence, and
an attempt that was given up can publish nothing any more.
"""

from __future__ import annotations

import time
from typing import Protocol

from cluster.catalog import AttemptRow, Catalog, CatalogError, JobRow
from cluster.machines.worker_processes import end_tree
from cluster.process_identity import ProcessId, current_boot
from jobs.life.outcome import delay, tries_for

START_S = 90.0  # a granted driver that has not claimed its attempt by then never will
CANCEL_S = 4.0  # what a driver has to obey a cancel; then it is ended


class StartWatch(Protocol):
    """Knows how the start of a driver process came out. jobs.life.ray_job_launcher.RayJobLauncher is the real one."""

    def failed(self, ray_job: str) -> str | None: ...
    def stop(self, ray_job: str) -> None: ...


class Reconciler:
    """Remembers how long it has seen what, by a clock that nobody sets."""

    def __init__(self, catalog: Catalog, cluster: str, launcher: StartWatch) -> None:
        self._catalog, self._cluster, self._launcher = catalog, cluster, launcher
        self._seen: dict[tuple[str, int, str], float] = {}

    def reconcile(self, live: list[tuple[JobRow, AttemptRow]]) -> None:
        """Checks every live attempt that has, or should have, a driver process."""
        self._forget(live)
        for job, attempt in live:
            try:
                if attempt.pid is not None:
                    self._driven(job, attempt)
                elif attempt.granted_at is not None:
                    self._granted(job, attempt)
            except CatalogError:  # it changed meanwhile: the next pass sees how
                continue

    def _granted(self, job: JobRow, attempt: AttemptRow) -> None:
        if attempt.cluster != self._cluster:
            return self._lose(job, "cluster_gone", "the cluster that was to start its driver is gone")
        if attempt.ray_job and (why := self._launcher.failed(attempt.ray_job)):
            return self._lose(job, "driver_never_started", f"its driver did not start: {why}")
        if job.state == "CANCELLING" and attempt.ray_job and (job.id, job.attempt, "stopped") not in self._seen:
            self._since(job, "stopped")
            self._launcher.stop(attempt.ray_job)
        if self._since(job, "granted") > START_S:
            self._lose(job, "driver_never_started", f"its driver did not start within {START_S:.0f} s")
        return None

    def _driven(self, job: JobRow, attempt: AttemptRow) -> None:
        if why := self._catalog.dead_driver(attempt):
            return self._gone(job, attempt, why)
        if attempt.ray_job and attempt.cluster != self._cluster:
            # Of a cluster that is no more: its driver waits for a head that does not come back.
            if _ended_here(attempt):
                self._gone(job, attempt, "the cluster that it ran on is gone")
        elif job.cancel == "cancel" and attempt.ray_job and self._since(job, "cancel") > CANCEL_S:
            _ended_here(attempt)
        return None

    def _gone(self, job: JobRow, attempt: AttemptRow, why: str) -> None:
        again = attempt.ray_job is not None  # a command that drives its own job is run again by whoever ran it
        self._lose(job, "cluster_gone" if again and attempt.cluster != self._cluster else "driver_gone", why, again)

    def _lose(self, job: JobRow, code: str, why: str, again: bool = True) -> None:
        if job.state == "CANCELLING":
            code = "cancelled" if job.cancel == "cancel" else "stopped"
            message = f"{code}: the same command goes on from the last checkpoint"
            self._catalog.finish(job.id, job.attempt, "CANCELLED", code=code, message=message, resumable=True)
            return
        tries = job.retries + 1
        retry_at = time.time() + delay(tries) if again and tries < tries_for(code) else None
        self._catalog.lose(job.id, job.attempt, code, why, retry_at=retry_at)

    def _since(self, job: JobRow, what: str) -> float:
        now = time.monotonic()
        return now - self._seen.setdefault((job.id, job.attempt, what), now)

    def _forget(self, live: list[tuple[JobRow, AttemptRow]]) -> None:
        attempts = {(job.id, job.attempt) for job, _ in live}
        self._seen = {key: at for key, at in self._seen.items() if key[:2] in attempts}


def _ended_here(attempt: AttemptRow) -> bool:
    """Ends the process that drives an attempt, if it is one of this machine; True if it is gone now.

    A process of another machine is left alone, whichever process has its number here: missing heartbeats show when it is gone.
    """
    driver = ProcessId(attempt.host or "", attempt.pid or 0, attempt.process or "")
    # An identity begins with the boot, where the system names its boots: then the process is known though the host was renamed.
    known = driver.on_this_host() or driver.process.startswith(f"{current_boot()}:")
    if not known or driver.has_ended():
        return False
    end_tree(driver.pid)
    return driver.has_ended()
