"""Lists of jobs, attempts and events. Nothing here changes a row."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, String, func, select, type_coerce
from sqlalchemy.orm import Session

from cluster.catalog.job_tables import AttemptRow, EventRow, JobRow, JobTag
from cluster.catalog.job_transitions import job_of
from cluster.catalog.list_order import CREATED, NEWEST_FIRST, Order, Place, Placed, in_order, placed
from cluster.catalog.states import State
from cluster.catalog.transactions import Transactions

JobSort = Literal["created", "stage", "state", "created_by"]
# All are columns of one index, `jobs_listed`: to sort a hundred thousand jobs, none of them is read.
_SORT_COLUMNS: dict[str, SQLColumnExpression[str] | None] = {
    CREATED: None,
    "stage": JobRow.stage,
    "state": type_coerce(JobRow.state, String),
    "created_by": JobRow.created_by,
}
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
        wanted = _wanted(stage, states, project, name, created_by, parent)
        if fingerprint is not None:
            wanted.append(JobRow.fingerprint == fingerprint)
        with self._read() as session:
            found = _found(session, wanted, tag, before).limit(limit)
            query = select(JobRow).where(JobRow.seq.in_(found)).order_by(JobRow.seq.desc())
            return list(session.scalars(query))

    def sorted_jobs(
        self,
        order: Order,
        *,
        stage: str | None = None,
        states: Collection[State | str] | None = None,
        project: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        created_by: str | None = None,
        parent: str | None = None,
        after: Place | None = None,
        limit: int = 100,
    ) -> list[Placed[JobRow]]:
        """Jobs in an order (by a JobSort), those after a place of it."""
        if order == NEWEST_FIRST:
            own = {"stage": stage, "states": states, "project": project, "name": name, "tag": tag, "parent": parent}
            before = None if after is None else after.seq
            rows = self.jobs(created_by=created_by, before=before, limit=limit, **own)  # type: ignore[arg-type]
            return [Placed(row, Place(row.seq, row.seq)) for row in rows]
        key = _SORT_COLUMNS[order.by]
        place: SQLColumnExpression[Any] = JobRow.seq if key is None else key
        query = select(JobRow.seq).add_columns(place.label("place"))
        query = query.where(*_wanted(stage, states, project, name, created_by, parent))
        if tag is not None:
            query = query.where(JobRow.seq.in_(select(JobTag.seq).where(JobTag.tag == tag)))
        found = in_order(query, key, JobRow.seq, order.descending, after).limit(limit)
        with self._read() as session:
            return placed(session, JobRow, JobRow.seq, found)

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


def _wanted(
    stage: str | None,
    states: Collection[State | str] | None,
    project: str | None,
    name: str | None,
    created_by: str | None,
    parent: str | None,
) -> list[ColumnElement[bool]]:
    columns = {
        JobRow.stage: stage,
        JobRow.project: project,
        JobRow.name: name,
        JobRow.created_by: created_by,
        JobRow.parent: parent,
    }
    wanted = [column == value for column, value in columns.items() if value is not None]
    if states is not None:
        wanted.append(JobRow.state.in_([State(state) for state in states]))
    return wanted


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
