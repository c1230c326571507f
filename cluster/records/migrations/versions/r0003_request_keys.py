"""Idempotency keys belong to the catalog. Before, the HTTP API made their table for itself where it ran."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the table; one that is there already is the same and keeps its rows."""
    if sa.inspect(op.get_bind()).has_table("idempotency"):
        return
    op.create_table(
        "idempotency",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
