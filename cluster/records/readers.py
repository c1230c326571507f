"""What can be asked about jobs. Nothing here changes a row."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from cluster.records.job_transitions import attempt_of, job_of, silent
from cluster.records.rows import AttemptRow, EventRow, JobRow, attempt_row, event_row, job_row, listed_job
from cluster.records.states import State
from cluster.records.tables import Attempt, Event, Job, JobTag
from cluster.records.transactions import Transactions

MANY = 20_000  # jobs of one tag; with fewer, their list is made in milliseconds


class Readers(Transactions):
    """job, jobs, attempts, silent, events, changes."""

    def job(self, job_id: str) -> JobRow:
        """One job. Raises NotFound if there is none of that id."""
        with self._read() as session:
            return job_row(job_of(session, job_id, lock=False))

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
            Job.stage: stage,
            Job.fingerprint: fingerprint,
            Job.project: project,
            Job.name: name,
            Job.created_by: created_by,
            Job.parent: parent,
        }
        wanted = [column == value for column, value in columns.items() if value is not None]
        if states is not None:
            wanted.append(Job.state.in_([State(state) for state in states]))
        with self._read() as session:
            found = _found(session, wanted, tag, before).limit(limit)
            query = select(Job.__table__).where(Job.seq.in_(found)).order_by(Job.seq.desc())
            return [listed_job(row) for row in session.execute(query).mappings()]

    def attempts(self, job_id: str) -> list[AttemptRow]:
        """All attempts of a job, the first first."""
        query = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)
        with self._read() as session:
            return [attempt_row(row) for row in session.scalars(query)]

    def silent(self, job_id: str) -> str | None:
        """Why the process that drives a job must be taken for dead; None if it lives, or may live, or none does."""
        with self._read() as session:
            return silent(attempt_of(session, job_of(session, job_id, lock=False)), self._changes)

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """Events of a job with numbers above `after`, in order."""
        query = select(Event).where(Event.job_id == job_id, Event.number > after).order_by(Event.number).limit(limit)
        with self._read() as session:
            return [event_row(row) for row in session.scalars(query)]

    def last_change(self) -> int:
        """The `seq` of the newest event of all; 0 while there is none."""
        with self._read() as session:
            return session.scalar(select(func.max(Event.seq))) or 0

    def changes(self, after: int, limit: int = 1000) -> list[EventRow]:
        """Events of all jobs with a `seq` above `after`, in order. None ever appears below one that was seen."""
        query = select(Event).where(Event.seq > after).order_by(Event.seq).limit(limit)
        with self._read() as session:
            return [event_row(row) for row in session.scalars(query)]


def _found(session: Session, wanted: list[ColumnElement[bool]], tag: str | None, before: int | None) -> Select[int]:
    """Which jobs a list has, the newest first: found in an index that has all these columns; then only they are read."""
    seq = JobTag.seq if tag is not None and not wanted else Job.seq
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
        return found.where(tagged.where(JobTag.seq == Job.seq).exists())
    return found.where((Job.seq + 0).in_(tagged))  # `+ 0`: a list that is looked in, while the index on jobs is read
