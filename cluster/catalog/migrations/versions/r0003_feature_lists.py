"""People's lists of features."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "feature_lists",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
    )
    op.create_index("feature_list_names", "feature_lists", ["name"], unique=True)
    op.create_table(
        "listed_features",
        sa.Column("list_id", sa.String(), primary_key=True),
        sa.Column("sae", sa.String(), primary_key=True),
        sa.Column("latent", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("added_by", sa.String(), nullable=False),
        sa.Column("added_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["list_id"], ["feature_lists.id"], ondelete="CASCADE"),
    )
    op.create_index("listed_features_by_latent", "listed_features", ["sae", "latent", "list_id"])
