"""Lists of jobs, attempts and events. Nothing here changes a row."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from cluster.catalog.job_tables import AttemptRow, EventRow, JobRow, JobTag
from cluster.catalog.job_transitions import job_of
from cluster.catalog.states import State
from cluster.catalog.transactions import Transactions

MANY = 20_000  # jobs of one tag; with fewer, their list is made in milliseconds


class JobQueries(Transactions):
    """Reads jobs, their attempts and their events."""

    def job(self, job_id: str) -> JobRow:
        """One job. Raises NotFound if there is none of that id."""
        with self._read() as session:
            return job_of(session, job_id, lock=False)

    def jobs(
        self,
        *,
        stage: str | None = None,
        fingerprint: str | None = None,
        states: Collection[State | str] | None = None,
        project: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        created_by: str | None = None,
        parent: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[JobRow]:
        """Jobs, the last submitted first; those with a `seq` below `before`, to page on."""
        columns = {
            JobRow.stage: stage,
            JobRow.fingerprint: fingerprint,
            JobRow.project: project,
            JobRow.name: name,
            JobRow.created_by: created_by,
            JobRow.parent: parent,
        }
        wanted = [column == value for column, value in columns.items() if value is not None]
        if states is not None:
            wanted.append(JobRow.state.in_([State(state) for state in states]))
        with self._read() as session:
            found = _found(session, wanted, tag, before).limit(limit)
            query = select(JobRow).where(JobRow.seq.in_(found)).order_by(JobRow.seq.desc())
            return list(session.scalars(query))

    def attempts(self, job_id: str) -> list[AttemptRow]:
        """All attempts of a job, the first first."""
        query = select(AttemptRow).where(AttemptRow.job_id == job_id).order_by(AttemptRow.number)
        with self._read() as session:
            return list(session.scalars(query))

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """Events of a job with numbers above `after`, in order."""
        query = (
            select(EventRow)
            .where(EventRow.job_id == job_id, EventRow.number > after)
            .order_by(EventRow.number)
            .limit(limit)
        )
        with self._read() as session:
            return list(session.scalars(query))

    def last_change(self) -> int:
        """The `seq` of the newest event of all; 0 while there is none."""
        with self._read() as session:
            return session.scalar(select(func.max(EventRow.seq))) or 0

    def changes(self, after: int, limit: int = 1000) -> list[EventRow]:
        """Events of all jobs with a `seq` above `after`, in order. None ever appears below one that was seen."""
        query = select(EventRow).where(EventRow.seq > after).order_by(EventRow.seq).limit(limit)
        with self._read() as session:
            return list(session.scalars(query))


def _found(session: Session, wanted: list[ColumnElement[bool]], tag: str | None, before: int | None) -> Select[int]:
    """Which jobs a list has, the newest first: found in an index that has all these columns; then only they are read."""
    seq = JobTag.seq if tag is not None and not wanted else JobRow.seq
    found = select(seq).where(*wanted).order_by(seq.desc())
    if before is not None:
        found = found.where(seq < before)
    if tag is None:
        return found
    if not wanted:
        return found.where(JobTag.tag == tag)
    tagged = select(JobTag.seq).where(JobTag.tag == tag)
    # PostgreSQL counts what it has, and chooses for itself; SQLite would search for each job that has the tag.
    counts = session.get_bind().dialect.name != "sqlite"
    if counts or session.scalars(tagged.offset(MANY).limit(1)).first() is not None:
        return found.where(tagged.where(JobTag.seq == JobRow.seq).exists())
    return found.where((JobRow.seq + 0).in_(tagged))  # `+ 0`: a list that is looked in, while the index on jobs is read
