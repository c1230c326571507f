"""Jobs as Ray metrics: every node has a Prometheus endpoint, and Ray adds the prefix `ray_` to these names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from ray.util import metrics


class Job(Protocol):
    """What is read of a live job; a row of the catalog has it."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def stage(self) -> str:
        """Its stage."""

    @property
    def state(self) -> str:
        """Its state."""

    @property
    def unit(self) -> str | None:
        """What `done` counts: rows, tokens, documents; None as long as it counts nothing."""

    @property
    def done(self) -> int | None:
        """Units done."""

    @property
    def total(self) -> int | None:
        """Units to do."""

    @property
    def rate(self) -> float | None:
        """Units a second."""


class JobMetrics:
    """Made once in an actor (the process that makes it is the one whose metrics are read), updated about once a second.

    | metric | tags | is |
    |---|---|---|
    | raylens_jobs | stage, state | live jobs |
    | raylens_job_units_done, raylens_job_units_total | job, stage, unit | how far a job is |
    | raylens_job_units_per_second | job, stage, unit | how fast |
    | raylens_attempts_total | stage, outcome | attempts that ended, since this process started |

    Ray forgets a value that is not set again for two report intervals (20 s by default), so the series of a job that
    ended go by themselves. Counts of live jobs stay, at zero.
    """

    def __init__(self) -> None:
        of_job = ("job", "stage", "unit")
        self._jobs = metrics.Gauge("raylens_jobs", "Live jobs.", tag_keys=("stage", "state"))
        self._done = metrics.Gauge("raylens_job_units_done", "Units that a job has done.", tag_keys=of_job)
        self._total = metrics.Gauge("raylens_job_units_total", "Units that a job will do.", tag_keys=of_job)
        self._rate = metrics.Gauge("raylens_job_units_per_second", "Units that a job does a second.", tag_keys=of_job)
        self._attempts = metrics.Counter("raylens_attempts", "Attempts that ended.", tag_keys=("stage", "outcome"))
        self._counted: set[tuple[str, str]] = set()

    def update(self, jobs: Sequence[Job]) -> None:
        """Sets what is true now; `jobs` are all live ones."""
        counts = Counter((job.stage, job.state) for job in jobs)
        self._counted |= counts.keys()
        for stage, state in self._counted:
            self._jobs.set(counts[stage, state], tags={"stage": stage, "state": state})
        for job in jobs:
            if job.unit:
                tags = {"job": job.id, "stage": job.stage, "unit": job.unit}
                for gauge, value in ((self._done, job.done), (self._total, job.total), (self._rate, job.rate)):
                    if value is not None:
                        gauge.set(value, tags=tags)

    def ended(self, stage: str, outcome: str, attempts: int = 1) -> None:
        """Counts attempts that ended: SUCCEEDED, FAILED, CANCELLED or LOST."""
        self._attempts.inc(attempts, tags={"stage": stage, "outcome": outcome})
