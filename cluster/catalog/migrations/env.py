"""What Alembic runs: the revisions, on the connection (and in the transaction) that schema.py gives it."""

from __future__ import annotations

from alembic import context

from cluster.catalog.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
