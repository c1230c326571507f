"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
_LIVE = sa.text("state IN ('CANCELLING', 'QUEUED', 'RUNNING', 'WAITING')")
_TYPES = {"text": sa.String, "int": sa.BigInteger, "real": sa.Double, "bool": sa.Boolean, "json": sa.JSON}


def upgrade() -> None:
    """Makes them."""
    _make_jobs()
    _make_artifacts()
    _make_sessions()
    _table("counters", "name text key", "value int")
    _table("leases", "name text key", "holder text", "host text", "pid int", "data json")
    _table("idempotency_keys", "owner text key", "key text key", "request text", "job_id text null", "created_at real")
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.execute("INSERT INTO counters (name, value) VALUES ('jobs', 0), ('artifacts', 0), ('events', 0)")


def _make_jobs() -> None:
    _table(
        "jobs", "id text key", "seq int", "stage text", "fingerprint text", "config json", "requirement json",
        "outputs json", "inputs json", "created_by text", "created_at real", "updated_at real", "attempt int",
        "state text", "cancel text null", "done int null", "total int null", "unit text null", "rate real null",
        "message text null", "code text null", "retryable bool", "resumable bool", "last_event int", "parent text null",
        "project text", "name text null", "tags json", "notes text", "profile text", "environment json", "wait_s real",
        "waiting_since real null", "deadline real null", "retry_at real null", "clock_boot text null",
        "clock_ahead real", "blocked json null", "retries int", "phase text null", "durable int null",
        "durable_by_phase json",
        sa.ForeignKeyConstraint(["parent"], ["jobs.id"], ondelete="SET NULL"),
    )  # fmt: skip
    op.create_index("one_live_job", "jobs", ["fingerprint"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_index("jobs_by_fingerprint", "jobs", ["fingerprint"])
    op.create_index("jobs_by_seq", "jobs", ["seq"], unique=True)
    op.create_index("live_jobs", "jobs", ["seq"], sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_index("job_names", "jobs", ["name", "project"], unique=True)
    op.create_index("jobs_listed", "jobs", ["seq", "stage", "state", "project", "created_by"])
    op.create_index("jobs_by_parent", "jobs", ["parent"])
    _table("job_tags", "tag text key", "seq int key", "job_id text", _of_job())
    op.create_index("ix_job_tags_job_id", "job_tags", ["job_id"])
    _table(
        "attempts", "job_id text key", "number int key", "state text", "host text null", "pid int null",
        "process text null", "heartbeat real null", "started_at real", "ended_at real null", "code text null",
        "message text null", "granted_at real null", "ray_job text null", "cluster text null", _of_job(),
    )  # fmt: skip
    _table(
        "events", "job_id text key", "number int key", "seq int", "attempt int", "at real", "kind text", "state text",
        "message text null", "data json null",
        sa.ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.number"], ondelete="CASCADE"),
    )  # fmt: skip
    op.create_index("events_by_seq", "events", ["seq"], unique=True)


def _make_artifacts() -> None:
    _table(
        "artifacts", "kind text key", "id text key", "seq int", "job_id text null", "attempt int", "stage text",
        "stage_version int", "label text", "inputs json", "summary json", "bytes int", "created_at real",
        "created_by text", "project text", "name text null", "tags json", "notes text",
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
    )  # fmt: skip
    op.create_index("artifacts_by_seq", "artifacts", ["seq"], unique=True)
    op.create_index("artifacts_by_kind", "artifacts", ["kind", "seq"])
    op.create_index("artifact_names", "artifacts", ["name", "project", "kind"], unique=True)
    op.create_index("artifacts_by_job", "artifacts", ["job_id"])
    _table("artifact_tags", "tag text key", "seq int key", "kind text", "id text", _of_artifact())
    op.create_index("artifact_tags_by_artifact", "artifact_tags", ["kind", "id"])
    _table(
        "artifact_inputs", "kind text key", "id text key", "role text key", "input_kind text", "input_id text",
        _of_artifact(),
    )  # fmt: skip
    op.create_index("artifact_inputs_by_input", "artifact_inputs", ["input_kind", "input_id"])
    _table(
        "artifact_fields", "seq int key", "name text key", "position int key", "kind text", "text text null",
        "number real null", sa.ForeignKeyConstraint(["seq"], ["artifacts.seq"], ondelete="CASCADE"),
    )  # fmt: skip
    op.create_index("artifact_fields_by_text", "artifact_fields", ["kind", "name", "text"])
    op.create_index("artifact_fields_by_number", "artifact_fields", ["kind", "name", "number"])
    _table(
        "feature_annotations", "sae text key", "latent int key", "starred bool", "label text", "notes text",
        "updated_by text", "updated_at real",
    )  # fmt: skip


def _make_sessions() -> None:
    _table(
        "browser_sessions", "sha256 text key", "name text", "scopes json", "token text null", "created_at real",
        "expires_at real",
    )  # fmt: skip
    op.create_index("ix_browser_sessions_expires_at", "browser_sessions", ["expires_at"])
    _table("sign_in_codes", "sha256 text key", "name text", "scopes json", "expires_at real")
    op.create_index("ix_sign_in_codes_expires_at", "sign_in_codes", ["expires_at"])


def _of_job() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE")


def _of_artifact() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["kind", "id"], ["artifacts.kind", "artifacts.id"], ondelete="CASCADE")


def _table(name: str, *parts: str | sa.Constraint) -> None:
    op.create_table(name, *(_column(part) if isinstance(part, str) else part for part in parts))


def _column(text: str) -> sa.Column[object]:
    """A column from "NAME TYPE [key | null]"."""
    name, kind, *more = text.split()
    return sa.Column(name, _TYPES[kind](), primary_key="key" in more, nullable="null" in more, autoincrement=False)
