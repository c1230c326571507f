"""What lists of artifacts of one kind can be sorted by: when they were made, name, size, and each field of the kind."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Select, SQLColumnExpression, and_, func
from sqlalchemy.orm import aliased

from cluster.catalog.artifact_tables import ArtifactField, ArtifactRow
from cluster.catalog.index_fields import INDEX
from cluster.catalog.list_order import CREATED

SORTED_CHARACTERS = 100  # of a text: a cursor has them
_OWN: dict[str, Literal["text", "number"]] = {CREATED: "number", "name": "text", "bytes": "number"}


def artifact_sorts(kind: str) -> dict[str, Literal["text", "number"]]:
    """The names that lists of a kind can be sorted by, with the type of their values."""
    fields = INDEX.get(kind, ())
    return {**_OWN, **{field.name: "text" if field.type == "text" else "number" for field in fields}}


def sort_key(query: Select[Any], kind: str, by: str) -> tuple[Select[Any], SQLColumnExpression[Any] | None]:
    """A query for artifacts with what its key needs joined to it, and the key; None: `seq`.

    By `name` an artifact without one has its label's place. Raises ValueError for what the kind cannot be sorted by.
    """
    if by not in artifact_sorts(kind):
        raise ValueError(f"{kind} cannot be sorted by {by!r}: they can by {', '.join(artifact_sorts(kind))}")
    if by == CREATED:
        return query, None
    if by == "bytes":
        return query, ArtifactRow.bytes
    if by == "name":
        shown = func.coalesce(ArtifactRow.name, ArtifactRow.label)
        return query, func.substr(func.lower(shown), 1, SORTED_CHARACTERS)
    field = aliased(ArtifactField)
    query = query.outerjoin(field, and_(field.seq == ArtifactRow.seq, field.name == by, field.position == 0))
    is_text = artifact_sorts(kind)[by] == "text"
    return query, func.substr(field.text, 1, SORTED_CHARACTERS) if is_text else field.number
