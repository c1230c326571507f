"""Uploads: what a client sends to make and to finish one, and what it gets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from sae.sources.uploads import MOST_FILES, Upload
from serve_app.schemas.common import RequestBody

Sha256 = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in hexadecimal digits.", examples=["0f" * 32])
]


class UploadRequest(RequestBody):
    """A new upload."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "news 2026"}]})

    name: str | None = Field(
        None, min_length=1, max_length=100, description="What it is called; the artifact made of it has this label."
    )


class UploadFinish(RequestBody):
    """The hashes of all files of an upload."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"files": {"news.jsonl": "0f" * 32}}]})

    files: dict[str, Sha256] = Field(
        min_length=1, max_length=MOST_FILES, description="The SHA-256 of each file, by its name."
    )


class UploadFileItem(BaseModel):
    """One file of an upload."""

    name: str = Field(description="Its name, with `/` between folders.", examples=["news.jsonl"])
    bytes: int = Field(description="Bytes that have come: the offset of the next piece.")
    sha256: str | None = Field(description="Its SHA-256, once the upload is finished.")


class UploadSummary(BaseModel):
    """An upload, without its files."""

    id: str = Field(description="Id of the upload: 16 hexadecimal digits.", examples=["67d5273bd9611bd1"])
    name: str | None = Field(description="What it is called.")
    state: Literal["open", "finished"] = Field(
        description="`open`: pieces can be sent. `finished`: it can be a source."
    )
    file_count: int = Field(description="Number of files.")
    bytes: int = Field(description="Bytes of all files.")
    created_by: str = Field(description="The token that made it.", examples=["api:ada"])
    created_at: datetime = Field(description="When it was made.")
    changed_at: datetime = Field(description="When it last changed. Maintenance removes it some days later.")

    @classmethod
    def of(cls, upload: Upload) -> Self:
        """From the upload's record and files."""
        return cls(**_values(upload))


class UploadDetail(UploadSummary):
    """An upload with its files."""

    files: list[UploadFileItem] = Field(description="Its files, by name.")

    @classmethod
    def of(cls, upload: Upload) -> Self:
        """From the upload's record and files."""
        return cls(**_values(upload), files=[UploadFileItem(**file._asdict()) for file in upload.files])


class UploadedPiece(BaseModel):
    """What has come of a file."""

    name: str = Field(description="Name of the file.")
    bytes: int = Field(description="Bytes that have come: the offset of the next piece.")


def _values(upload: Upload) -> dict[str, object]:
    record = upload.record
    return {
        "id": record.id, "name": record.name, "state": "finished" if upload.finished else "open",
        "file_count": len(upload.files), "bytes": upload.bytes, "created_by": record.created_by,
        "created_at": datetime.fromtimestamp(record.created_at, UTC),
        "changed_at": datetime.fromtimestamp(upload.changed_at, UTC),
    }  # fmt: skip
