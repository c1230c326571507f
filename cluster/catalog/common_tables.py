"""What all tables share, and the tables of counters, leases and idempotency keys. Times are seconds since 1970 (UTC).

The rows that callers get are objects of the mapped classes, detached from the database: changing them changes nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Dialect, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cluster.catalog.states import State

MAYBE_JSON = JSON(none_as_null=True)


class StateColumn(TypeDecorator[State]):
    """A job's state, kept as text."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: State | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> State | None:
        return None if value is None else State(value)


class Base(DeclarativeBase):
    """Metadata of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        State: StateColumn,
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        dict[str, int]: JSON,
        list[str]: JSON,
        int: BigInteger,
    }


class Counter(Base):
    """The last number given out of one sequence. Whoever takes a number keeps the row locked until it commits."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


class LeaseRow(Base):
    """The process that took a lease last, and its data. Only the lock says whether it still has it (locks.py)."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    data: Mapped[dict[str, Any]]


class IdempotencyKey(Base):
    """An Idempotency-Key: its owner, the hash of the request that it came with, and the job that this came to."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    job_id: Mapped[str | None]
    created_at: Mapped[float] = mapped_column(index=True)
