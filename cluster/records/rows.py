"""Rows of jobs as plain values, as callers see them. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import RowMapping

from cluster.records.clock import Anchor
from cluster.records.states import LIVE, State
from cluster.records.tables import Attempt, Base, Event, Job

T = TypeVar("T")


class Submission(NamedTuple):
    """What a submission came to.

    `created`: the caller has made attempt `attempt` of job `job_id`, and must drive it to its end unless it asked for
    nobody to drive it. Otherwise the job is either SUCCEEDED (its `outputs` are there) or live: the process `pid` on
    `host` drives it and was heard of `silent_s` seconds ago (`host` is None while nobody does), and the caller can wait
    for it by reading `Records.job`. `lost`: the number of the attempt before, if this submission found its process gone.
    """

    job_id: str
    attempt: int
    state: State
    created: bool
    outputs: list[str]
    host: str | None
    live_pid: int | None
    silent_s: float
    lost: int | None

    @property
    def live(self) -> bool:
        """True while the job has not ended."""
        return self.state in LIVE


@dataclass(frozen=True)
class JobRow:
    """One job. `done` of `total` `unit`s, at `rate` units a second, in the phase that runs now; `durable` are safe."""

    id: str
    seq: int
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
    parent: str | None
    project: str
    name: str | None
    tags: list[str]
    notes: str
    profile: str
    environment: dict[str, Any]
    wait_s: float
    waiting_since: float | None
    deadline: float | None
    retry_at: float | None
    clock_boot: str | None
    clock_ahead: float
    blocked: dict[str, Any] | None
    tries: int
    phase: str | None
    durable: int | None

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

    @property
    def overdue(self) -> bool:
        """True once the job has waited past its deadline, whatever has been done to the wall clock meanwhile."""
        return self.deadline is not None and self._now() > self.deadline

    @property
    def due(self) -> bool:
        """True unless the job's next try is still to wait, whatever has been done to the wall clock meanwhile."""
        return self.retry_at is None or self._now() >= self.retry_at

    def _now(self) -> float:
        return Anchor(self.clock_boot, self.clock_ahead).now()


@dataclass(frozen=True)
class AttemptRow:
    """One try at a job: the process `pid` on `host` drives it and was last heard of at `heartbeat`; None: nobody yet.

    `granted_at`: when the dispatcher let it start, as the Ray job `ray_job` of the cluster `cluster`.
    """

    job_id: str
    number: int
    state: State
    host: str | None
    pid: int | None
    process: str | None
    heartbeat: float | None
    started_at: float
    ended_at: float | None
    code: str | None
    message: str | None
    granted_at: float | None
    ray_job: str | None
    cluster: str | None

    @property
    def driven(self) -> bool:
        """True once a process has claimed it."""
        return self.host is not None


@dataclass(frozen=True)
class EventRow:
    """A change of state (kind 'state') or a mark in the log (kind 'log'), numbered within its job, and by `seq` in all."""

    job_id: str
    number: int
    seq: int
    attempt: int
    at: float
    kind: str
    state: State
    message: str | None
    data: dict[str, Any] | None


def plain(cls: type[T], row: Base) -> T:
    """The row as a value of a dataclass whose fields are named as its columns."""
    return _made(cls, {name: getattr(row, name) for name in _names(cls)})  # type: ignore[arg-type]


def _made(cls: type[T], values: dict[str, Any]) -> T:
    if "state" in values:
        values["state"] = State(values["state"])
    return cls(**values)


@cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


def job_row(row: Job) -> JobRow:
    """The value of a row of `jobs`."""
    return plain(JobRow, row)


def listed_job(columns: RowMapping) -> JobRow:
    """The value of a row of `jobs` as its columns: for lists, where an object of each row would take half of the time."""
    return _made(JobRow, {name: columns[name] for name in _names(JobRow)})


def attempt_row(row: Attempt) -> AttemptRow:
    """The value of a row of `attempts`."""
    return plain(AttemptRow, row)


def event_row(row: Event) -> EventRow:
    """The value of a row of `events`."""
    return plain(EventRow, row)
