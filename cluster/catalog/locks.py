"""Locks that end with the process that holds them: a file's beside SQLite, an advisory one in PostgreSQL.

The kernel, or the database server, frees the lock of a process that was killed, at once; no clock is read. A process that
is stopped (SIGSTOP) keeps its lock until it ends, so two never hold one at a time.
"""

from __future__ import annotations

import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from cluster.catalog.errors import CatalogError
from cluster.file_locks import is_locked

_CLASS = 0x5241594C  # the first of the two numbers that name an advisory lock; the second is made from its name
_WAIT_S = 0.2  # longer than a look at the lock by `is_locked`
# A server does not see by itself that the machine of a client has gone; it would keep its locks for two hours.
_KEEPALIVE = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3"


class Locks:
    """Named locks of one catalog, each of one user of this value. Threads may share it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._held: dict[str, tuple[str, FileLock | Connection]] = {}

    def acquire(self, name: str, user: str) -> bool:
        """Takes a lock without waiting, or finds that the user has it already; False if another has it."""
        with self._guard:
            if name in self._held:
                holder, lock = self._held[name]
                if _still(lock):
                    return holder == user
                del self._held[name]
            taken = self._take_file(name) if self._engine.dialect.name == "sqlite" else self._take_advisory(name)
            if taken is not None:
                self._held[name] = user, taken
            return taken is not None

    def has(self, name: str, user: str) -> bool:
        """True if the user took a lock, and did not give it back; it may be lost since."""
        return name in self._held and self._held[name][0] == user

    def release(self, name: str) -> None:
        """Gives a lock back. Does nothing if no user of this value has it."""
        with self._guard:
            _, lock = self._held.pop(name, ("", None))
            if isinstance(lock, FileLock):
                lock.release(force=True)
            elif lock is not None:
                with suppress(SQLAlchemyError):  # the session is gone, and with it the lock
                    lock.execute(text("SELECT pg_advisory_unlock_all()"))
                lock.invalidate()
                lock.close()

    def release_all(self) -> None:
        """Gives back all locks of this value."""
        for name in list(self._held):
            self.release(name)

    def is_held(self, name: str) -> bool:
        """True if some process has the lock."""
        if self._engine.dialect.name == "sqlite":
            return is_locked(self._file(name), exclusively=True)
        found = text(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database WHERE "
            "locktype = 'advisory' AND datname = current_database() AND classid = :one AND objid = :two AND granted"
        )
        with self._engine.connect() as connection:
            return bool(connection.execute(found, {"one": _CLASS, "two": _number(name)}).scalar())

    def _file(self, name: str) -> Path:
        return Path(f"{self._engine.url.database}.{name}.lock")

    def _take_file(self, name: str) -> FileLock | None:
        lock = FileLock(self._file(name), mode=0o600, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(timeout=_WAIT_S, poll_interval=_WAIT_S / 10)
        except Timeout:
            return None
        except (OSError, NotImplementedError) as error:
            raise CatalogError(
                f"cannot lock {lock.lock_file}: {error}; the catalog needs a disk with file locks"
            ) from error
        return lock

    def _take_advisory(self, name: str) -> Connection | None:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            connection.execute(text(_KEEPALIVE))
            numbers: dict[str, Any] = {"one": _CLASS, "two": _number(name)}
            if connection.execute(text("SELECT pg_try_advisory_lock(:one, :two)"), numbers).scalar():
                return connection
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        connection.close()
        return None


def _still(held: FileLock | Connection) -> bool:
    """Whether a lock that was taken has not been lost since: with a connection goes its lock."""
    if isinstance(held, FileLock):
        return bool(held.is_locked)
    try:
        held.execute(text("SELECT 1"))
    except SQLAlchemyError:
        held.invalidate()
        held.close()
        return False
    return True


def _number(name: str) -> int:
    return zlib.crc32(name.encode()) & 0x7FFFFFFF
