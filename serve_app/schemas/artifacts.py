"""Artifacts: the fields of every kind."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from cluster.catalog import ArtifactRow
from cluster.store import Manifest
from serve_app.schemas.common import Redacted


class ArtifactItem(BaseModel):
    """One artifact, as lists show it."""

    id: str = Field(description="Its id: a hash of its inputs and config.", examples=["67d5273bd9611bd1"])
    ref: str = Field(description="Kind and id, as requests name an input.", examples=["saes/67d5273bd9611bd1"])
    url: str = Field(description="Its path in this API.", examples=["/v1/saes/67d5273bd9611bd1"])
    label: Redacted = Field(description="A short description.", examples=["topk 4608 k=32 at blocks.7.hook_resid_post"])
    project: str = Field(description="Its project.")
    name: str | None = Field(description="Its name, if it has one.")
    tags: list[str] = Field(description="Its tags.")
    notes: str = Field(description="Its notes.")
    created_by: str = Field(description="Who submitted the job that made it.")
    created_at: datetime = Field(description="When it was published.")
    bytes: int = Field(description="Bytes of all its files.")
    stage: str = Field(description="The stage that made it.", examples=["train"])
    job: str | None = Field(description="The job that made it; null if unknown.")
    inputs: dict[str, str] = Field(description="Its inputs, by role.", examples=[{"tokens": "tokens/67d5273bd9611bd1"}])
    summary: dict[str, Any] = Field(description="Counts, sizes and metrics.")
    fields: dict[str, Any] = Field(
        description="The fields that lists filter by. An SAE's `ev`, `l0` and `alive` are those of its last evaluation.",
        examples=[{"hook": "blocks.7.hook_resid_post", "d_sae": 4608, "ev": 0.862}],
    )

    @classmethod
    def from_row(cls, row: ArtifactRow, **more: Any) -> Self:
        """From a row."""
        own = {name: getattr(row, name) for name in ArtifactItem.model_fields if hasattr(row, name)}
        return cls(**own, **more, url=f"/v1/{row.ref}", job=row.job_id)


class File(BaseModel):
    """One file of an artifact."""

    name: str = Field(description="Its name in `/files/{name}`.", examples=["sae_weights.safetensors"])
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="SHA-256 of its bytes; also its ETag.")


class Artifact(ArtifactItem):
    """One artifact with its config, files and provenance."""

    stage_version: int = Field(description="Version of the stage that made it.")
    config: dict[str, Any] = Field(description="All settings that determine its bytes.")
    provenance: dict[str, Any] = Field(description="Machine and library versions of the job that made it.")
    files: list[File] = Field(description="Its files.")

    @classmethod
    def detail(cls, row: ArtifactRow, manifest: Manifest, config: dict[str, Any], **more: Any) -> Self:
        """From a row and its manifest; `config` is the manifest's with shortened paths."""
        files = [File(name=file.name, size=file.size, sha256=file.sha256) for file in manifest.files]
        return cls.from_row(
            row,
            stage_version=manifest.stage_version,
            config=config,
            provenance=manifest.provenance,
            files=files,
            **more,
        )
