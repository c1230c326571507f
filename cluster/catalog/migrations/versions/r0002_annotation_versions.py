"""The history of what people wrote about features. What was written before begins it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the table, with the labels and notes that are there as first versions."""
    op.create_table(
        "annotation_versions",
        sa.Column("sae", sa.String(), primary_key=True),
        sa.Column("latent", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("written_by", sa.String(), nullable=False),
        sa.Column("written_at", sa.Double(), nullable=False),
    )
    op.execute(
        "INSERT INTO annotation_versions (sae, latent, version, label, notes, written_by, written_at) "
        "SELECT sae, latent, 1, label, notes, updated_by, updated_at FROM feature_annotations "
        "WHERE label <> '' OR notes <> ''"
    )
