"""Jobs, attempts, events and artifacts, each job driven by the process that submitted it.

Catalogs of this revision were made without Alembic: schema.py takes one without a version for one of these.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
_LIVE = sa.text("state IN ('CANCELLING', 'QUEUED', 'RUNNING', 'WAITING')")


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(), primary_key=True),
        *_texts("stage", "fingerprint"),
        *_jsons("config", "requirement", "outputs", "inputs"),
        *_texts("created_by"),
        *_times("created_at", "updated_at"),
        *_numbers("attempt"),
        *_texts("state"),
        *_texts("cancel", null=True),
        *_numbers("done", "total", null=True),
        *_texts("unit", null=True),
        *_times("rate", null=True),
        *_texts("message", "code", null=True),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("resumable", sa.Boolean(), nullable=False),
        *_numbers("last_event"),
    )
    op.create_index("jobs_by_fingerprint", "jobs", ["fingerprint"])
    op.create_index("one_live_job", "jobs", ["fingerprint"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True),
        *_texts("state", "host"),
        *_numbers("pid"),
        *_texts("process"),
        *_times("heartbeat", "started_at"),
        *_times("ended_at", null=True),
        *_texts("code", "message", null=True),
    )
    op.create_table(
        "events",
        sa.Column("job_id", sa.String(), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True),
        *_numbers("attempt"),
        *_times("at"),
        *_texts("kind", "state"),
        *_texts("message", null=True),
        sa.ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.number"], ondelete="CASCADE"),
    )
    op.create_table(
        "artifacts",
        sa.Column("kind", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id"), nullable=False),
        *_numbers("attempt"),
        *_texts("stage"),
        *_numbers("stage_version"),
        *_texts("label"),
        *_jsons("inputs", "summary"),
        *_numbers("bytes"),
        *_times("created_at"),
    )


def _texts(*names: str, null: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(), nullable=null) for name in names]


def _numbers(*names: str, null: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=null) for name in names]


def _times(*names: str, null: bool = False) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double(), nullable=null) for name in names]


def _jsons(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.JSON(), nullable=False) for name in names]
