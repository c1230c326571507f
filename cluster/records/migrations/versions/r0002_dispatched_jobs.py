"""Jobs that nobody drives yet, one order over all jobs, events and artifacts, labels, leases, and facts of artifacts.

What stands in the catalog gets its place by time; facts are read from what the rows say themselves (a reindex reads the
manifests, which say more).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cluster.records.migrations.r0002_rows import fill
from cluster.records.migrations.r0002_tables import create

revision = "0002"
down_revision = "0001"
_LIVE = sa.text("state IN ('CANCELLING', 'QUEUED', 'RUNNING', 'WAITING')")


def upgrade() -> None:
    """Adds columns, fills them, then asks of them what the tables ask; SQLite rewrites a table for that."""
    _add_columns()
    create()
    fill(op.get_bind())
    _demand()


def _add_columns() -> None:
    text, number, real = sa.String, sa.BigInteger, sa.Double
    columns: dict[str, dict[str, sa.types.TypeEngine[object] | type]] = {
        "jobs": {
            "seq": number, "parent": text, "project": text, "name": text, "tags": sa.JSON, "notes": text,
            "profile": text, "environment": sa.JSON, "wait_s": real, "waiting_since": real, "deadline": real,
            "retry_at": real, "clock_boot": text, "clock_ahead": real, "blocked": sa.JSON, "tries": number,
            "phase": text, "durable": number, "safe": sa.JSON,
        },
        "attempts": {"granted_at": real, "ray_job": text, "cluster": text},
        "events": {"seq": number, "data": sa.JSON},
        "artifacts": {
            "seq": number, "created_by": text, "project": text, "name": text, "tags": sa.JSON, "notes": text,
        },
    }  # fmt: skip
    for table, added in columns.items():
        for name, kind in added.items():
            op.add_column(table, sa.Column(name, kind, nullable=True))


def _demand() -> None:
    with op.batch_alter_table("jobs") as jobs:
        for name in ("seq", "clock_ahead", "wait_s", "tries", "project", "notes", "profile"):
            jobs.alter_column(name, nullable=False)
        for name in ("tags", "environment", "safe"):
            jobs.alter_column(name, existing_type=sa.JSON(), nullable=False)
        jobs.create_foreign_key("jobs_parent_fkey", "jobs", ["parent"], ["id"], ondelete="SET NULL")
        jobs.create_index("jobs_by_seq", ["seq"], unique=True)
        jobs.create_index("live_jobs", ["seq"], sqlite_where=_LIVE, postgresql_where=_LIVE)
        jobs.create_index("job_names", ["name", "project"], unique=True)
        jobs.create_index("jobs_listed", ["seq", "stage", "state", "project", "created_by"])
        jobs.create_index("jobs_by_parent", ["parent"])
    with op.batch_alter_table("attempts") as attempts:
        for name in ("host", "pid", "process", "heartbeat"):
            attempts.alter_column(name, nullable=True)
    with op.batch_alter_table("events") as events:
        events.alter_column("seq", nullable=False)
        events.create_index("events_by_seq", ["seq"], unique=True)
    with op.batch_alter_table("artifacts") as artifacts:
        artifacts.alter_column("job_id", nullable=True)
        for name in ("seq", "created_by", "project", "notes"):
            artifacts.alter_column(name, nullable=False)
        artifacts.alter_column("tags", existing_type=sa.JSON(), nullable=False)
        artifacts.create_index("artifacts_by_seq", ["seq"], unique=True)
        artifacts.create_index("artifacts_by_kind", ["kind", "seq"])
        artifacts.create_index("artifact_names", ["name", "project", "kind"], unique=True)
        artifacts.create_index("artifacts_by_job", ["job_id"])
