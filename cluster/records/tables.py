"""The tables of jobs. Times are seconds since 1970 (UTC). Nothing here enters an artifact's id."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cluster.records.states import LIVE

_LIVE = "state IN ({})".format(", ".join(f"'{state}'" for state in sorted(LIVE)))
# A condition for queries, word for word that of the partial indices: with parameters in it they would not be used.
IS_LIVE = text(f"jobs.{_LIVE}")
# `postgresql_where`, said when tables are made (schema.py): to say it here would import that dialect in every command.
ONLY_LIVE = {"postgresql_where": _LIVE}
MAYBE_JSON = JSON(none_as_null=True)


class Base(DeclarativeBase):
    """Metadata of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        dict[str, int]: JSON,
        list[str]: JSON,
        int: BigInteger,
    }


class Job(Base):
    """One request. `attempt` is the number of the attempt that holds it, `seq` its place in the order of submission."""

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
    state: Mapped[str]
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
    # How it is started elsewhere.
    profile: Mapped[str] = mapped_column(default="auto")
    environment: Mapped[dict[str, Any]]
    # Waiting. The times are to be read by the clock that `clock_boot` and `clock_ahead` tell of (clock.py).
    wait_s: Mapped[float] = mapped_column(default=600.0)
    waiting_since: Mapped[float | None] = mapped_column(default=None)
    deadline: Mapped[float | None] = mapped_column(default=None)
    retry_at: Mapped[float | None] = mapped_column(default=None)
    clock_boot: Mapped[str | None] = mapped_column(default=None)
    clock_ahead: Mapped[float] = mapped_column(default=0.0)
    blocked: Mapped[dict[str, Any] | None] = mapped_column(MAYBE_JSON, default=None)
    # What is safe on disk: `durable` of the phase that runs, the most of each phase in `safe`.
    tries: Mapped[int] = mapped_column(default=0)
    phase: Mapped[str | None] = mapped_column(default=None)
    durable: Mapped[int | None] = mapped_column(default=None)
    safe: Mapped[dict[str, int]]


class JobTag(Base):
    """A tag of a job, apart from `jobs.tags` so that the newest jobs of a tag are found without reading all."""

    __tablename__ = "job_tags"

    tag: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)


class Attempt(Base):
    """One try at a job, and the process that drives it; none does (`host` is null) until one has claimed it."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
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


class Event(Base):
    """A change of state or a mark in the log, numbered 1, 2, ... within its job under the job's row lock.

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
    state: Mapped[str]
    message: Mapped[str | None]
    data: Mapped[dict[str, Any] | None] = mapped_column(MAYBE_JSON, default=None)


class Counter(Base):
    """The last number given out of one sequence. Whoever takes a number keeps the row locked until it commits."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


class Lease(Base):
    """Who alone may do something, and the process that holds it."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[float]
    ttl_s: Mapped[float]
    renewals: Mapped[int]
    host: Mapped[str]
    pid: Mapped[int]
    process: Mapped[str]
    boot: Mapped[str | None]
    boot_seconds: Mapped[float]
    data: Mapped[dict[str, Any]]


class RequestKey(Base):
    """An Idempotency-Key: whose it is, the hash of the request that it came with, and the job that this came to."""

    __tablename__ = "idempotency"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    job_id: Mapped[str | None]
    created_at: Mapped[float] = mapped_column(index=True)
