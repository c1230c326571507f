"""Opens the catalog: SQLite in WAL mode by default, or what an SQLAlchemy URL names."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from cluster.records.errors import RecordsError
from cluster.records.tables import Base

BUSY_MS = 30_000


def home() -> Path:
    """RAYLENS_HOME, by default ~/.raylens."""
    return Path(os.environ.get("RAYLENS_HOME") or "~/.raylens").expanduser()


def open_engine(url: str | None) -> Engine:
    """An engine whose tables exist. Default: $RAYLENS_HOME/catalog.db. Raises RecordsError."""
    try:
        where = make_url(url) if url else URL.create("sqlite", database=str(home() / "catalog.db"))
        if where.get_backend_name() == "sqlite":
            return _open_sqlite(where)
        engine = create_engine(where)
        Base.metadata.create_all(engine)
        return engine
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise RecordsError(f"{url!r} does not name a catalog: {error}; give sqlite:////FOLDER/catalog.db") from error
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise RecordsError(f"cannot open the catalog {url or home() / 'catalog.db'}: {error}") from error


def _open_sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise RecordsError("the catalog cannot live in memory: its rows must outlive a process; name a file")
    path = Path(url.database).expanduser().absolute()
    _make_private(path)
    engine = create_engine(url.set(database=str(path)))
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    # Two processes that open a new catalog at once would otherwise both set the journal mode and make the tables.
    with _locked(path.with_name(path.name + ".lock")):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # kept in the file; not possible in a transaction
        Base.metadata.create_all(engine)
    return engine


def _make_private(path: Path) -> None:
    """The catalog is nobody else's: its folder is 0700 if it is made here or is RAYLENS_HOME, the file is 0600."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, mode=0o700)
    if path.parent == home().absolute():
        path.parent.chmod(0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(connection: Any, _: object) -> None:
    # The driver's own transactions begin too late (at the first write); _begin begins them.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A writer takes its lock at the start: what it reads is still so when it writes, and it waits instead of failing.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
