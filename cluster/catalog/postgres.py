"""Opens a catalog in a PostgreSQL database, made and brought forward under a lock of that database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import URL

from cluster.catalog.errors import CatalogError
from cluster.catalog.schema import bring_up, is_current

# A server that is not there, or that has gone, is noticed within a minute, not within hours.
_REACHING = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# Nobody waits for ever for a row: as with SQLite, a writer says so after half a minute. And a process that was stopped in
# the middle of a transaction gives its locks back.
_SETTINGS = "SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '30s'"
# Any number that nothing else takes for a lock in the same database.
_SCHEMA_LOCK = 0x5241594C454E53


def open_postgres(url: URL) -> Engine:
    """An engine on the database of a URL. Raises CatalogError and what the server says."""
    try:
        # A server that was started again meanwhile has closed the connections in the pool: each is tried before use.
        engine = create_engine(url.update_query_dict({**_REACHING, **url.query}), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise CatalogError(
            f"it needs a package that is not installed here ({error.name}): pip install 'psycopg[binary]'"
        ) from error
    event.listen(engine, "connect", _prepare)
    try:
        with engine.connect() as connection:
            current = is_current(connection)
        if not current:
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = 0"))  # to move a large catalog forward takes a while
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SCHEMA_LOCK})
                bring_up(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _prepare(connection: Any, _: object) -> None:
    connection.execute(_SETTINGS)
    connection.commit()
