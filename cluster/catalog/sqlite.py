"""Opens a catalog in an SQLite file: private, in WAL mode, foreign keys on, made and brought forward under a lock."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL

from cluster.catalog.errors import CatalogError
from cluster.catalog.schema import bring_up, is_current

BUSY_MS = 30_000


def open_sqlite(url: URL, home: Path) -> Engine:
    """An engine on the file of a URL. Raises CatalogError, OSError and what SQLite says."""
    if not url.database or url.database == ":memory:":
        raise CatalogError("it cannot live in memory: its rows must outlive a process; name a file")
    path = Path(url.database).expanduser().absolute()
    _make_private(path, home.absolute())
    url = url.set(database=str(path))
    engine = create_engine(url, json_deserializer=from_json)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    try:
        with engine.execution_options(reading=True).connect() as connection:
            current = is_current(connection)
        if not current:
            # Two processes that open a new catalog at once would otherwise both set the journal mode and make tables.
            with FileLock(path.with_name(path.name + ".lock"), mode=0o600):
                _bring_up(url)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _bring_up(url: URL) -> None:
    with closing(sqlite3.connect(str(url.database), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # kept in the file; not possible in a transaction
    engine = create_engine(url, poolclass=NullPool)
    event.listen(engine, "connect", _prepare_for_change)
    event.listen(engine, "begin", _begin)
    with engine.begin() as migrating:
        bring_up(migrating)
        if broken := migrating.exec_driver_sql("PRAGMA foreign_key_check").all():
            raise CatalogError(f"rows refer to rows that are not there, in {', '.join({row[0] for row in broken})}")


def _make_private(path: Path, home: Path) -> None:
    """The catalog is nobody else's: its folder is 0700 if it is made here or is RAYLENS_HOME, the file is 0600."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, mode=0o700)
    if path.parent == home:
        path.parent.chmod(0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


def _prepare(connection: Any, _: object) -> None:
    # The driver's own transactions begin too late (at the first write); _begin begins them.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _prepare_for_change(connection: Any, _: object) -> None:
    # A table is changed by making it anew; with foreign keys on, the rows that refer to it would go with the old one.
    _prepare(connection, _)
    connection.execute("PRAGMA foreign_keys = OFF")


def _begin(connection: Connection) -> None:
    # A writer takes its lock at the start: what it reads is still so when it writes, and it waits instead of failing.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
