"""Transactions on the catalog. Every call of Catalog is one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Self, TypeVar

from sqlalchemy import Connection, Engine, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from cluster.catalog.change_timer import ChangeTimer
from cluster.catalog.common_tables import Counter
from cluster.catalog.errors import CatalogError, CatalogUnreachable
from cluster.catalog.job_tables import EventRow
from cluster.catalog.locks import Locks
from cluster.catalog.url_redaction import Secret

T = TypeVar("T")
PATIENCE_S = 30.0
_TRIES = 5
_REFERENCES_LOCK = 0x5241594C454E54  # any number that nothing else takes for a lock in the same database
# SQLite's primary codes, and PostgreSQL's SQLSTATEs and their classes, for what passes by itself: the connection was lost,
# the server is ending or has no place for one more, a lock was not to be had.
_SQLITE_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}
_POSTGRES_PASSING = {"08", "40", "57", "53300", "55P03"}
_EVENTS = "events"  # in Session.info: those of this transaction, not numbered yet


class Transactions:
    """A connection to the catalog. Threads may share one; processes open their own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reading=True)
        self._changes = ChangeTimer()
        self._locks = Locks(engine)
        self._secret = Secret(engine.url.render_as_string(hide_password=False))

    def close(self) -> None:
        """Ends leases and closes all connections."""
        self._locks.release_all()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with (
            self._explained(),
            self._connected(self._reader) as connection,
            Session(connection, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def _write(self, references: Literal["share", "own"] | None = None) -> Iterator[Session]:
        """A transaction that writes. `references`: see _lock_references."""
        with (
            self._explained(),
            self._connected(self._engine) as connection,
            Session(connection, expire_on_commit=False) as session,
            session.begin(),
        ):
            _lock_references(session, references)
            yield session
            _number_events(session)

    def _settled(self, work: Callable[[], T]) -> T:
        """Runs a transaction; once more if another one has just made the row that this one found absent.

        So it is on a database that does not lock before it is read: the unique index decides, and who lost looks again.
        """
        for _ in range(_TRIES):
            try:
                return work()
            except IntegrityError as error:
                last = error
        raise CatalogError(f"the catalog refuses this: {str(last.orig).partition(chr(10))[0]}") from last

    @contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        connection = _connect(engine)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what a database says into a CatalogError, but for a broken uniqueness, which is an answer.

        What passes by itself is a CatalogUnreachable: whoever called may call again.
        """
        try:
            yield
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            message = f"the catalog {self._engine.url.render_as_string()} cannot be used: {reason}"
            kind = CatalogUnreachable if _passes(error) else CatalogError
            raise kind(self._secret.hide(message)) from error


def _passes(error: SQLAlchemyError) -> bool:
    """True for what a database says while it cannot be reached, or is kept by others."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_PASSING
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # no server has answered
        return error.connection_invalidated or isinstance(error, OperationalError)
    return error.connection_invalidated or not _POSTGRES_PASSING.isdisjoint({state, state[:2]})


def _connect(engine: Engine) -> Connection:
    """A connection. A server that does not answer may be starting again: it is tried for a while before that is reported."""
    if engine.dialect.name == "sqlite":
        return engine.connect()
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

    # `reraise`: the server's own words.
    patient = Retrying(
        retry=retry_if_exception_type(OperationalError),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_random_exponential(0.1, max=2),
        reraise=True,
    )
    return patient(engine.connect)


def _lock_references(session: Session, how: Literal["share", "own"] | None) -> None:
    """Keeps an artifact from being deleted (`own`) while a job or an artifact that needs it is written (`share`).

    SQLite has one writer at a time; PostgreSQL needs a lock, taken before any other of the transaction.
    """
    if how is not None and session.get_bind().dialect.name == "postgresql":
        shared = "_shared" if how == "share" else ""
        session.execute(text(f"SELECT pg_advisory_xact_lock{shared}(:lock)"), {"lock": _REFERENCES_LOCK})


def next_number(session: Session, name: str, count: int = 1) -> int:
    """Takes the next `count` numbers of a sequence and gives the last. Others wait for theirs until this one commits.

    A database's own sequence would not do: there, a number that was taken earlier may be committed, and seen, later.
    """
    taken = update(Counter).where(Counter.name == name).values(value=Counter.value + count).returning(Counter.value)
    return session.scalars(taken).one()


def add_event(session: Session, event: EventRow) -> None:
    """Keeps an event until the end of the transaction, which numbers it."""
    session.info.setdefault(_EVENTS, []).append(event)


def _number_events(session: Session) -> None:
    """The last step of a transaction: all events of all writers pass here one after the other, so it is kept short.

    Whoever sees an event sees every event with a lower number: that one's transaction had ended before this one began
    to number its own.
    """
    events: list[EventRow] = session.info.pop(_EVENTS, [])
    session.flush()
    if events:
        last = next_number(session, "events", len(events))
        for seq, event in enumerate(events, start=last - len(events) + 1):
            event.seq = seq
        session.add_all(events)
