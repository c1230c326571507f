"""The tables of jobs, their attempts and their events. Nothing here enters an artifact's id."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from cluster.catalog.boot_clock import Anchor
from cluster.catalog.common_tables import MAYBE_JSON, Base
from cluster.catalog.states import LIVE, State

_LIVE = "state IN ({})".format(", ".join(f"'{state}'" for state in sorted(LIVE)))
# A condition for queries, word for word that of the partial indices: with parameters in it they would not be used.
IS_LIVE = text(f"jobs.{_LIVE}")
# `postgresql_where`, applied when tables are made (schema.py): to give it here would import that dialect in every command.
ONLY_LIVE = {"postgresql_where": _LIVE}


class JobRow(Base):
    """One job. `done` of `total` `unit`s, at `rate` units a second, in the phase that runs now; `durable` are safe.

    `attempt` is the number of its latest attempt, `seq` its place in the order of submission.
    """

    __tablename__ = "jobs"
    # The law that equal requests share one live job is kept by the database, not by the code that reads first.
    __table_args__ = (
        Index("one_live_job", "fingerprint", unique=True, sqlite_where=text(_LIVE), info=ONLY_LIVE),
        Index("jobs_by_fingerprint", "fingerprint"),
        Index("jobs_by_seq", "seq", unique=True),
        Index("live_jobs", "seq", sqlite_where=text(_LIVE), info=ONLY_LIVE),
        Index("job_names", "name", "project", unique=True),
        # All that lists are filtered by, so that the newest that match are found without reading the rows themselves.
        Index("jobs_listed", "seq", "stage", "state", "project", "created_by"),
        Index("jobs_by_parent", "parent"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int]
    stage: Mapped[str]
    fingerprint: Mapped[str]
    config: Mapped[dict[str, Any]]
    requirement: Mapped[dict[str, Any]]
    outputs: Mapped[list[str]]
    inputs: Mapped[dict[str, str]]
    created_by: Mapped[str]
    created_at: Mapped[float]
    updated_at: Mapped[float]
    attempt: Mapped[int]
    state: Mapped[State]
    cancel: Mapped[str | None] = mapped_column(default=None)
    done: Mapped[int | None] = mapped_column(default=None)
    total: Mapped[int | None] = mapped_column(default=None)
    unit: Mapped[str | None] = mapped_column(default=None)
    rate: Mapped[float | None] = mapped_column(default=None)
    message: Mapped[str | None] = mapped_column(default=None)
    code: Mapped[str | None] = mapped_column(default=None)
    retryable: Mapped[bool] = mapped_column(default=False)
    resumable: Mapped[bool] = mapped_column(default=False)
    last_event: Mapped[int] = mapped_column(default=0)
    # Who asked, and what people call it.
    parent: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), default=None)
    project: Mapped[str] = mapped_column(default="default")
    name: Mapped[str | None] = mapped_column(default=None)
    tags: Mapped[list[str]]
    notes: Mapped[str] = mapped_column(default="")
    # How its driver process is started.
    profile: Mapped[str] = mapped_column(default="auto")
    environment: Mapped[dict[str, Any]]
    # Waiting. The times are read by the clock that `clock_boot` and `clock_ahead` name (clock.py).
    wait_s: Mapped[float] = mapped_column(default=600.0)
    waiting_since: Mapped[float | None] = mapped_column(default=None)
    deadline: Mapped[float | None] = mapped_column(default=None)
    retry_at: Mapped[float | None] = mapped_column(default=None)
    clock_boot: Mapped[str | None] = mapped_column(default=None)
    clock_ahead: Mapped[float] = mapped_column(default=0.0)
    blocked: Mapped[dict[str, Any] | None] = mapped_column(MAYBE_JSON, default=None)
    # What is safe on disk: `durable` of the phase that runs, the most of each phase in `durable_by_phase`.
    retries: Mapped[int] = mapped_column(default=0)
    phase: Mapped[str | None] = mapped_column(default=None)
    durable: Mapped[int | None] = mapped_column(default=None)
    durable_by_phase: Mapped[dict[str, int]]

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
        """True once the job has waited past its deadline, however the wall clock was set meanwhile."""
        return self.deadline is not None and self._now() > self.deadline

    @property
    def due(self) -> bool:
        """True unless the job's next attempt must still wait, however the wall clock was set meanwhile."""
        return self.retry_at is None or self._now() >= self.retry_at

    def _now(self) -> float:
        return Anchor(self.clock_boot, self.clock_ahead).now()


class JobTag(Base):
    """A tag of a job, apart from `jobs.tags` so that the newest jobs of a tag are found without reading all."""

    __tablename__ = "job_tags"

    tag: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)


class AttemptRow(Base):
    """One execution of a job: the process `pid` on `host` drives it and reported last at `heartbeat`; None: nobody yet.

    `granted_at`: when the dispatcher let it start, as the Ray job `ray_job` of the cluster `cluster`.
    """

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[State]
    host: Mapped[str | None] = mapped_column(default=None)
    pid: Mapped[int | None] = mapped_column(default=None)
    process: Mapped[str | None] = mapped_column(default=None)
    heartbeat: Mapped[float | None] = mapped_column(default=None)
    started_at: Mapped[float]
    ended_at: Mapped[float | None] = mapped_column(default=None)
    code: Mapped[str | None] = mapped_column(default=None)
    message: Mapped[str | None] = mapped_column(default=None)
    granted_at: Mapped[float | None] = mapped_column(default=None)
    ray_job: Mapped[str | None] = mapped_column(default=None)
    cluster: Mapped[str | None] = mapped_column(default=None)

    @property
    def driven(self) -> bool:
        """True once a process has claimed it."""
        return self.host is not None

    @property
    def admitted(self) -> bool:
        """True once it may use the resources that its job requires."""
        return self.granted_at is not None or self.state in (State.RUNNING, State.CANCELLING)

    @property
    def pending(self) -> bool:
        """True while it waits for somebody to grant or to adopt it."""
        return self.state in (State.QUEUED, State.WAITING) and self.host is None and self.granted_at is None


class EventRow(Base):
    """A change of state (kind 'state') or a message (kind 'log'), numbered 1, 2, ... within its job under its row lock.

    `seq` numbers the events of all jobs in the order in which they were committed (transactions.py).
    """

    __tablename__ = "events"
    __table_args__ = (
        ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.number"], ondelete="CASCADE"),
        Index("events_by_seq", "seq", unique=True),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int]
    attempt: Mapped[int]
    at: Mapped[float]
    kind: Mapped[str]
    state: Mapped[State]
    message: Mapped[str | None]
    data: Mapped[dict[str, Any] | None] = mapped_column(MAYBE_JSON, default=None)
