"""What the API adds to the catalog: which job an Idempotency-Key came to; and one look at its counters."""

from __future__ import annotations

from sqlalchemy import Column, Double, Engine, MetaData, String, Table, text

METADATA = MetaData()

IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("owner", String, primary_key=True),  # the token that sent it: keys of different clients are apart
    Column("key", String, primary_key=True),
    Column("request", String, nullable=False),  # hash of the route and body
    Column("job_id", String),  # null while the first request is at work
    Column("created_at", Double, nullable=False, index=True),
)


def last_seq(engine: Engine) -> int:
    """Number of the last event of all jobs: where a stream begins that wants only what comes."""
    with engine.execution_options(reading=True).connect() as connection:
        found = connection.execute(text("SELECT value FROM counters WHERE name = 'events'")).scalar()
    return int(found or 0)
