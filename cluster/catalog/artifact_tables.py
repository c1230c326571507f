"""The tables of artifacts: what every kind has, what each was made from and is searched by, and annotations of features."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from cluster.catalog.common_tables import Base
from cluster.catalog.index_fields import Value, value_of


class ArtifactRow(Base):
    """A published artifact: what its manifest says, and the job that made it (None: read from its manifest alone)."""

    __tablename__ = "artifacts"
    __table_args__ = (
        Index("artifacts_by_seq", "seq", unique=True),
        Index("artifacts_by_kind", "kind", "seq"),
        Index("artifact_names", "name", "project", "kind", unique=True),
        Index("artifacts_by_job", "job_id"),
    )

    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), default=None)
    attempt: Mapped[int]
    stage: Mapped[str]
    stage_version: Mapped[int]
    label: Mapped[str]
    inputs: Mapped[dict[str, str]]
    summary: Mapped[dict[str, Any]]
    bytes: Mapped[int]
    created_at: Mapped[float]
    created_by: Mapped[str] = mapped_column(default="")
    project: Mapped[str] = mapped_column(default="default")
    name: Mapped[str | None] = mapped_column(default=None)
    tags: Mapped[list[str]]
    notes: Mapped[str] = mapped_column(default="")
    index: Mapped[list[ArtifactField]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", passive_deletes=True, order_by="ArtifactField.position"
    )

    @property
    def ref(self) -> str:
        """`kind/id`."""
        return f"{self.kind}/{self.id}"

    @property
    def fields(self) -> dict[str, Value | list[Value]]:
        """What it is searched by (index_fields.py), a list where a field has several values."""
        found: dict[str, list[Value]] = {}
        for one in self.index:
            found.setdefault(one.name, []).append(value_of(self.kind, one.name, one.text, one.number))
        return {name: values if len(values) > 1 else values[0] for name, values in found.items()}


class ArtifactTag(Base):
    """A tag of an artifact, apart from `artifacts.tags` as with jobs."""

    __tablename__ = "artifact_tags"
    __table_args__ = (
        ForeignKeyConstraint(["kind", "id"], ["artifacts.kind", "artifacts.id"], ondelete="CASCADE"),
        Index("artifact_tags_by_artifact", "kind", "id"),
    )

    tag: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    id: Mapped[str]


class ArtifactInput(Base):
    """What an artifact was made from. The input itself may stand in the store only: it is no foreign key."""

    __tablename__ = "artifact_inputs"
    __table_args__ = (
        ForeignKeyConstraint(["kind", "id"], ["artifacts.kind", "artifacts.id"], ondelete="CASCADE"),
        Index("artifact_inputs_by_input", "input_kind", "input_id"),
    )

    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    input_kind: Mapped[str]
    input_id: Mapped[str]


class ArtifactField(Base):
    """One value that an artifact is searched by: `text` or `number`, at a position among those of its name."""

    __tablename__ = "artifact_fields"
    __table_args__ = (
        Index("artifact_fields_by_text", "kind", "name", "text"),
        Index("artifact_fields_by_number", "kind", "name", "number"),
    )

    seq: Mapped[int] = mapped_column(ForeignKey("artifacts.seq", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    text: Mapped[str | None] = mapped_column(default=None)
    number: Mapped[float | None] = mapped_column(default=None)


class FeatureAnnotation(Base):
    """A person's star, label and notes on one latent of an SAE (a reference). They outlive the SAE's files."""

    __tablename__ = "feature_annotations"

    sae: Mapped[str] = mapped_column(primary_key=True)
    latent: Mapped[int] = mapped_column(primary_key=True)
    starred: Mapped[bool] = mapped_column(default=False)
    label: Mapped[str] = mapped_column(default="")
    notes: Mapped[str] = mapped_column(default="")
    updated_by: Mapped[str]
    updated_at: Mapped[float]


class AnnotationVersion(Base):
    """The label and notes of a latent as they were after one change, numbered from 1. The last one is the annotation's own."""

    __tablename__ = "annotation_versions"

    sae: Mapped[str] = mapped_column(primary_key=True)
    latent: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str]
    notes: Mapped[str]
    written_by: Mapped[str]
    written_at: Mapped[float]
