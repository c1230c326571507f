"""What people call jobs and artifacts: a name that is theirs alone in their project, tags, notes. None enters an id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from cluster.catalog.artifact_tables import ArtifactRow, ArtifactTag
from cluster.catalog.errors import NameTaken, NotFound
from cluster.catalog.job_tables import JobRow, JobTag
from configs.artifact_ids import ArtifactRef

NAME_CHARACTERS = 100
TAG_CHARACTERS = 50
MOST_TAGS = 32
NOTES_CHARACTERS = 10_000


class Labels(NamedTuple):
    """A name (None: none), tags and notes."""

    name: str | None = None
    tags: Sequence[str] = ()
    notes: str = ""


def checked(labels: Labels) -> Labels:
    """The labels as they are stored: tags once each, in order. Raises ValueError that says what would be right."""
    if labels.name is not None:
        _check("a name", labels.name, NAME_CHARACTERS)
    tags = sorted(set(labels.tags))
    for tag in tags:
        _check("a tag", tag, TAG_CHARACTERS)
    if len(tags) > MOST_TAGS:
        raise ValueError(f"{len(tags)} tags are too many: at most {MOST_TAGS}")
    if len(labels.notes) > NOTES_CHARACTERS:
        raise ValueError(f"the notes have {len(labels.notes):,} characters: at most {NOTES_CHARACTERS:,}")
    if "\0" in labels.notes:
        raise ValueError("the notes hold a character NUL, which no database keeps")
    return Labels(labels.name, tags, labels.notes)


def checked_project(project: str) -> str:
    """The project's name. Raises ValueError."""
    _check("a project", project, NAME_CHARACTERS)
    return project


def checked_list_name(name: str) -> str:
    """The name of a list of features. Raises ValueError."""
    _check("the name of a list", name, NAME_CHARACTERS)
    return name


def _check(what: str, text: str, most: int) -> None:
    if not text or len(text) > most or not text.isprintable() or text != text.strip():
        raise ValueError(
            f"{text[: most + 20]!r} cannot be {what}: use 1 to {most} printable characters, no space at either end"
        )


def add_labels(session: Session, job: JobRow, labels: Labels) -> None:
    """Gives a job the name and notes that it lacks, and the tags. Raises NameTaken."""
    if labels.name is not None and job.name is None:
        set_name(session, job, labels.name)
    if labels.notes and not job.notes:
        job.notes = labels.notes
    if not set(labels.tags) <= set(job.tags):
        set_tags(session, job, checked(Labels(tags=[*job.tags, *labels.tags])).tags)


def set_name(session: Session, row: JobRow | ArtifactRow, name: str | None) -> None:
    """Names a row, or takes its name away. Raises NameTaken."""
    if name is not None:
        query = (
            select(JobRow.id).where(JobRow.project == row.project, JobRow.name == name)
            if isinstance(row, JobRow)
            else select(ArtifactRow.id).where(
                ArtifactRow.project == row.project, ArtifactRow.kind == row.kind, ArtifactRow.name == name
            )
        )
        other = session.scalars(query).one_or_none()
        if other is not None and other != row.id:
            holder = other if isinstance(row, JobRow) else f"{row.kind}/{other}"
            raise NameTaken(f"the name {name!r} in project {row.project!r} belongs to {holder}: take another", holder)
    row.name = name
    session.flush()


def set_tags(session: Session, row: JobRow | ArtifactRow, tags: Sequence[str]) -> None:
    """Gives a row exactly these tags."""
    row.tags = list(tags)
    if isinstance(row, JobRow):
        session.execute(delete(JobTag).where(JobTag.job_id == row.id))
        session.add_all(JobTag(tag=tag, seq=row.seq, job_id=row.id) for tag in tags)
    else:
        session.execute(delete(ArtifactTag).where(ArtifactTag.kind == row.kind, ArtifactTag.id == row.id))
        session.add_all(ArtifactTag(tag=tag, seq=row.seq, kind=row.kind, id=row.id) for tag in tags)
    session.flush()


def labelled(session: Session, what: str | ArtifactRef) -> JobRow | ArtifactRow:
    """The row of a job's id or of an artifact's reference, locked. Raises NotFound if there is none."""
    if isinstance(what, ArtifactRef):
        query = select(ArtifactRow).where(ArtifactRow.kind == what.kind, ArtifactRow.id == what.id)
        artifact = session.scalars(query.with_for_update(key_share=True)).one_or_none()
        if artifact is None:
            raise NotFound(f"there is no artifact {what} in the catalog")
        return artifact
    job = session.scalars(select(JobRow).where(JobRow.id == what).with_for_update(key_share=True)).one_or_none()
    if job is None:
        raise NotFound(f"there is no job {what!r} in the catalog")
    return job
