"""Rows of artifacts as plain values, as callers see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy.orm import Session

from cluster.records.artifact_index import facts_of
from cluster.records.artifact_tables import Artifact


@dataclass(frozen=True)
class ArtifactRow:
    """One published artifact: what its manifest says, and the job that made it (None: read from its manifest alone).

    `facts` are the columns of its kind's table (fact_tables.py): what artifacts of the kind are looked for by.
    """

    kind: str
    id: str
    seq: int
    job_id: str | None
    attempt: int
    stage: str
    stage_version: int
    label: str
    inputs: dict[str, str]
    summary: dict[str, Any]
    bytes: int
    created_at: float
    created_by: str
    project: str
    name: str | None
    tags: list[str]
    notes: str
    facts: dict[str, Any]

    @property
    def ref(self) -> str:
        """`kind/id`."""
        return f"{self.kind}/{self.id}"


def artifact_rows(session: Session, rows: Sequence[Artifact]) -> list[ArtifactRow]:
    """The values of rows of `artifacts`, with their facts."""
    facts = facts_of(session, rows)
    own = [field.name for field in fields(ArtifactRow) if field.name != "facts"]
    return [
        ArtifactRow(**{name: getattr(row, name) for name in own}, facts=facts.get((row.kind, row.id), {}))
        for row in rows
    ]


def artifact_row(session: Session, row: Artifact) -> ArtifactRow:
    """The value of a row of `artifacts`, with its facts."""
    return artifact_rows(session, [row])[0]
