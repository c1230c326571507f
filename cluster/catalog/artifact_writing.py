"""Steps inside one transaction that write an artifact's rows from its manifest."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from cluster.catalog.artifact_index import index_artifact
from cluster.catalog.artifact_tables import ArtifactInput, ArtifactRow
from cluster.catalog.job_tables import JobRow
from cluster.catalog.names_and_tags import set_tags
from cluster.catalog.transactions import next_number
from configs.artifact_ids import ArtifactRef, parse_ref

_COPIED = ("stage", "stage_version", "label", "inputs", "summary")


def write_artifact(session: Session, manifest: dict[str, Any], job: JobRow | None) -> ArtifactRow:
    """Adds what a manifest (as JSON) says, or brings the row that is there up to date. What people added to it stays.

    `job`: which made it; its creator, project, tags and notes are the artifact's first ones. The job's name is too, if
    this is all that the job makes and no other artifact of the kind has it.
    """
    ref = ArtifactRef(manifest["kind"], manifest["id"])
    row = session.get(ArtifactRow, tuple(ref))
    new = row is None
    if row is None:
        row = ArtifactRow(
            kind=ref.kind, id=ref.id, seq=next_number(session, "artifacts"), created_at=time.time(), tags=[], index=[]
        )
    for name in _COPIED:
        setattr(row, name, manifest[name])
    row.attempt = manifest["attempt"] if job is None else job.attempt
    row.bytes = sum(file["size"] for file in manifest["files"])
    if job is not None:
        row.job_id = job.id
        row.created_at = time.time()
    if new:
        if job is not None:
            row.created_by, row.project, row.notes = job.created_by, job.project, job.notes
            row.name = _free_name(session, row, job)
        session.add(row)
    session.flush()
    if new and job is not None and job.tags:
        set_tags(session, row, job.tags)
    _write_inputs(session, row)
    index_artifact(session, row, manifest.get("config") or {})
    return row


def _free_name(session: Session, row: ArtifactRow, job: JobRow) -> str | None:
    if job.name is None or len(job.outputs) != 1:
        return None
    project, kind = ArtifactRow.project == job.project, ArtifactRow.kind == row.kind
    taken = session.scalars(select(ArtifactRow.id).where(project, kind, ArtifactRow.name == job.name)).first()
    return None if taken else job.name


def _write_inputs(session: Session, row: ArtifactRow) -> None:
    session.execute(delete(ArtifactInput).where(ArtifactInput.kind == row.kind, ArtifactInput.id == row.id))
    for role, text in row.inputs.items():
        source = parse_ref(text)
        session.add(ArtifactInput(kind=row.kind, id=row.id, role=role, input_kind=source.kind, input_id=source.id))
    session.flush()
