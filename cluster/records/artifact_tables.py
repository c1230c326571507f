"""The tables of artifacts: what every kind has, what each was made from, and what people say about features."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from cluster.records.tables import Base


class Artifact(Base):
    """What a job published, as its manifest says. `job_id` is null if it was read from a manifest alone."""

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


class FeatureMark(Base):
    """What people say about one latent of an SAE (a reference). It outlives extractions, and the SAE's files too."""

    __tablename__ = "feature_marks"

    sae: Mapped[str] = mapped_column(primary_key=True)
    latent: Mapped[int] = mapped_column(primary_key=True)
    starred: Mapped[bool] = mapped_column(default=False)
    label: Mapped[str] = mapped_column(default="")
    notes: Mapped[str] = mapped_column(default="")
    updated_by: Mapped[str]
    updated_at: Mapped[float]
