"""How lists of jobs and artifacts are sorted and paged: rows without the value come last, ties have the newest first."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Select, SQLColumnExpression, and_, or_, select
from sqlalchemy.orm import Session

from cluster.catalog.index_fields import Value

Row = TypeVar("Row")
CREATED = "created"


class Order(NamedTuple):
    """What a list is sorted by, and whether the largest or newest come first."""

    by: str = CREATED
    descending: bool = True


NEWEST_FIRST = Order()


class Place(NamedTuple):
    """Where a page ended: what its last row was sorted by (None: it has no such value), and its `seq`."""

    value: Value | None
    seq: int


class Placed(NamedTuple, Generic[Row]):
    """A row and its place, from which the next page goes on."""

    row: Row
    place: Place


def in_order(
    query: Select[Any],
    key: SQLColumnExpression[Any] | None,
    seq: SQLColumnExpression[int],
    descending: bool,
    after: Place | None,
) -> Select[Any]:
    """Sorts a query by `key`, or by `seq` alone if that is None, and leaves out what comes before the place `after`."""
    if key is None:
        if after is not None:
            query = query.where(seq < after.seq if descending else seq > after.seq)
        return query.order_by(seq.desc() if descending else seq.asc())
    if after is not None:
        older = seq < after.seq
        if after.value is None:
            query = query.where(key.is_(None), older)
        else:
            beyond = key < after.value if descending else key > after.value
            query = query.where(or_(beyond, and_(key == after.value, older), key.is_(None)))
    return query.order_by(key.is_(None), key.desc() if descending else key.asc(), seq.desc())


def placed(session: Session, table: type[Row], seq: SQLColumnExpression[int], found: Select[Any]) -> list[Placed[Row]]:
    """The rows of a query for `seq` and the value that it is sorted by: only they are read, when all are sorted."""
    places = [Place(value, number) for number, value in session.execute(found)]
    if not places:
        return []
    wanted = seq.in_([place.seq for place in places])
    rows = {number: row for number, row in session.execute(select(seq, table).where(wanted))}
    return [Placed(rows[place.seq], place) for place in places if place.seq in rows]
