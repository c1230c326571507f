"""What can be asked of the catalog. Nothing here changes a row."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from cluster.records.changes import attempt_of, job_of, silent
from cluster.records.errors import RecordsError
from cluster.records.rows import (
    ArtifactRow,
    AttemptRow,
    EventRow,
    JobRow,
    artifact_row,
    attempt_row,
    event_row,
    job_row,
)
from cluster.records.states import State
from cluster.records.tables import Artifact, Attempt, Event, Job
from configs.identity import ArtifactRef


class Readers:
    """The reading half of Records."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reading=True)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def job(self, job_id: str) -> JobRow:
        """One job. Raises RecordsError if there is none of that id."""
        with self._read() as session:
            return job_row(job_of(session, job_id))

    def jobs(
        self,
        *,
        stage: str | None = None,
        fingerprint: str | None = None,
        states: Collection[State | str] | None = None,
        limit: int = 100,
    ) -> list[JobRow]:
        """Jobs, the newest first."""
        query = select(Job).order_by(Job.created_at.desc(), Job.id).limit(limit)
        if stage is not None:
            query = query.where(Job.stage == stage)
        if fingerprint is not None:
            query = query.where(Job.fingerprint == fingerprint)
        if states is not None:
            query = query.where(Job.state.in_([State(state) for state in states]))
        with self._read() as session:
            return [job_row(row) for row in session.scalars(query)]

    def attempts(self, job_id: str) -> list[AttemptRow]:
        """All attempts of a job, the first first."""
        query = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)
        with self._read() as session:
            return [attempt_row(row) for row in session.scalars(query)]

    def silent(self, job_id: str) -> str | None:
        """Why the process that drives a job must be taken for dead; None if it lives, or may live."""
        with self._read() as session:
            return silent(attempt_of(session, job_of(session, job_id)), time.time())

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """Events of a job with numbers above `after`, in order."""
        query = select(Event).where(Event.job_id == job_id, Event.number > after).order_by(Event.number).limit(limit)
        with self._read() as session:
            return [event_row(row) for row in session.scalars(query)]

    def artifact(self, ref: ArtifactRef) -> ArtifactRow | None:
        """One artifact; None if none was published under that name."""
        with self._read() as session:
            row = session.get(Artifact, (ref.kind, ref.id))
            return None if row is None else artifact_row(row)

    def artifacts(self, kind: str | None = None, limit: int = 1000) -> list[ArtifactRow]:
        """Artifacts, the newest first."""
        query = select(Artifact).order_by(Artifact.created_at.desc(), Artifact.id).limit(limit)
        if kind is not None:
            query = query.where(Artifact.kind == kind)
        with self._read() as session:
            return [artifact_row(row) for row in session.scalars(query)]

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with explained(), Session(self._reader) as session, session.begin():
            yield session


@contextmanager
def explained() -> Iterator[None]:
    """Turns what a database says into a RecordsError, but for a broken uniqueness, which is an answer."""
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        raise RecordsError(f"the catalog cannot be used: {str(error).splitlines()[0]}") from error
