"""Rows as plain values, as callers see them. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

from cluster.records.states import LIVE, State
from cluster.records.tables import Artifact, Attempt, Base, Event, Job

T = TypeVar("T", "JobRow", "AttemptRow", "EventRow", "ArtifactRow")


class Submission(NamedTuple):
    """What a submission came to.

    `created`: the caller holds attempt `attempt` of job `job_id` and must drive it to its end. Otherwise the job is
    either SUCCEEDED (its `outputs` are there) or live: the process `pid` on `host` drives it, was heard of `silent_s`
    seconds ago, and the caller can wait for it by reading `Records.job`. `lost`: the number of the attempt before, if
    this submission found its process gone.
    """

    job_id: str
    attempt: int
    state: State
    created: bool
    outputs: list[str]
    host: str
    live_pid: int | None
    silent_s: float
    lost: int | None

    @property
    def live(self) -> bool:
        """True while some process drives the job."""
        return self.state in LIVE


@dataclass(frozen=True)
class JobRow:
    """One job. `done` of `total` `unit`s, at `rate` units a second, in the phase that runs now."""

    id: str
    stage: str
    fingerprint: str
    config: dict[str, Any]
    requirement: dict[str, Any]
    outputs: list[str]
    inputs: dict[str, str]
    created_by: str
    created_at: float
    updated_at: float
    attempt: int
    state: State
    cancel: str | None
    done: int | None
    total: int | None
    unit: str | None
    rate: float | None
    message: str | None
    code: str | None
    retryable: bool
    resumable: bool
    last_event: int

    @property
    def live(self) -> bool:
        """True while the job has not ended."""
        return self.state in LIVE

    @property
    def eta_s(self) -> float | None:
        """Seconds that the phase still takes at its rate; None if that is not known."""
        if self.done is None or self.total is None or not self.rate or not self.live:
            return None
        return max(0.0, (self.total - self.done) / self.rate)


@dataclass(frozen=True)
class AttemptRow:
    """One try at a job: the process `pid` on `host` drives it and was last heard of at `heartbeat`."""

    job_id: str
    number: int
    state: State
    host: str
    pid: int
    heartbeat: float
    started_at: float
    ended_at: float | None
    code: str | None
    message: str | None


@dataclass(frozen=True)
class EventRow:
    """A change of state (kind 'state') or a mark in the log (kind 'log'), numbered within its job."""

    job_id: str
    number: int
    attempt: int
    at: float
    kind: str
    state: State
    message: str | None


@dataclass(frozen=True)
class ArtifactRow:
    """One published artifact: what its manifest says, and the job that made it."""

    kind: str
    id: str
    job_id: str
    attempt: int
    stage: str
    stage_version: int
    label: str
    inputs: dict[str, str]
    summary: dict[str, Any]
    bytes: int
    created_at: float


def _value(cls: type[T], row: Base) -> T:
    values = {field.name: getattr(row, field.name) for field in fields(cls)}
    if "state" in values:
        values["state"] = State(values["state"])
    return cls(**values)


def job_row(row: Job) -> JobRow:
    """The value of a row of `jobs`."""
    return _value(JobRow, row)


def attempt_row(row: Attempt) -> AttemptRow:
    """The value of a row of `attempts`."""
    return _value(AttemptRow, row)


def event_row(row: Event) -> EventRow:
    """The value of a row of `events`."""
    return _value(EventRow, row)


def artifact_row(row: Artifact) -> ArtifactRow:
    """The value of a row of `artifacts`."""
    return _value(ArtifactRow, row)
