"""The tables. Times are seconds since 1970 (UTC). Nothing here enters an artifact's id."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cluster.records.states import LIVE

_LIVE = text("state IN ({})".format(", ".join(f"'{state}'" for state in sorted(LIVE))))


class Base(DeclarativeBase):
    """Metadata of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        list[str]: JSON,
        int: BigInteger,
    }


class Job(Base):
    """One request. `attempt` is the number of the attempt that holds it."""

    __tablename__ = "jobs"
    # The law that equal requests share one live job is kept by the database, not by the code that reads first.
    __table_args__ = (
        Index("one_live_job", "fingerprint", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
        Index("jobs_by_fingerprint", "fingerprint"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
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


class Attempt(Base):
    """One try at a job, and the process that drives it."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    process: Mapped[str]
    heartbeat: Mapped[float]
    started_at: Mapped[float]
    ended_at: Mapped[float | None] = mapped_column(default=None)
    code: Mapped[str | None] = mapped_column(default=None)
    message: Mapped[str | None] = mapped_column(default=None)


class Event(Base):
    """A change of state or a mark in the log, numbered 1, 2, ... within its job under the job's row lock."""

    __tablename__ = "events"
    __table_args__ = (
        ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.number"], ondelete="CASCADE"),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    at: Mapped[float]
    kind: Mapped[str]
    state: Mapped[str]
    message: Mapped[str | None]


class Artifact(Base):
    """What a job published, as its manifest says."""

    __tablename__ = "artifacts"

    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    stage: Mapped[str]
    stage_version: Mapped[int]
    label: Mapped[str]
    inputs: Mapped[dict[str, str]]
    summary: Mapped[dict[str, Any]]
    bytes: Mapped[int]
    created_at: Mapped[float]
