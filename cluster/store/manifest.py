"""The manifest: the one file that makes an artifact exist. It names every file with its size and SHA-256."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from pydantic import Field, field_serializer, field_validator

from configs.artifact_ids import ArtifactRef, canonical_json
from configs.base import Config

MANIFEST = "manifest.json"
PART = ".part.json"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+=-]*(/[A-Za-z0-9][A-Za-z0-9._+=-]*)*$")
_PATH = re.compile(r"^a[1-9][0-9]*/(_[0-9a-f]{12}/)?")


class StoredFile(NamedTuple):
    """One file of an artifact. `name` is logical; `path` lies below the artifact's prefix and holds the attempt."""

    name: str
    path: str
    size: int
    sha256: str


class Manifest(Config):
    """Written last: what no manifest names does not exist."""

    kind: str = Field(description="Kind of the artifact, a folder of the store.")
    id: str = Field(description="Id of the artifact, 16 hexadecimal digits.")
    stage: str = Field(description="Stage that made it.")
    stage_version: int = Field(description="Version of that stage; raised when output bytes change.")
    attempt: int = Field(ge=1, description="Attempt of the job that made it.")
    label: str = Field(default="", description="A few words for people.")
    config: dict[str, Any] = Field(default_factory=dict, description="Resolved config of the stage.")
    inputs: dict[str, str] = Field(default_factory=dict, description="Role to 'kind/id' of each input artifact.")
    files: tuple[StoredFile, ...] = Field(default=(), description="All files: name, path, size in bytes, SHA-256.")
    summary: dict[str, Any] = Field(default_factory=dict, description="Figures worth showing without opening files.")
    provenance: dict[str, Any] = Field(default_factory=dict, description="Machine, library versions, job.")

    @field_validator("config", "summary", "provenance")
    @classmethod
    def _json_only(cls, value: dict[str, Any]) -> dict[str, Any]:
        """The value as it will be read back. NaN, or what JSON has no word for, is refused."""
        try:
            plain: dict[str, Any] = json.loads(canonical_json(value))
        except TypeError as error:
            raise ValueError(str(error)) from error
        return plain

    @field_validator("files")
    @classmethod
    def _safe_and_unique(cls, files: tuple[StoredFile, ...]) -> tuple[StoredFile, ...]:
        for file in files:
            check_name(file.name)
            start = _PATH.match(file.path)
            if start is None or file.path[start.end() :] != file.name:
                raise ValueError(f"path {file.path!r} of file {file.name!r} is not a<attempt>/{file.name}")
        names = [file.name for file in files]
        if len(set(names)) < len(names):
            raise ValueError(f"file names repeat: {sorted(n for n in set(names) if names.count(n) > 1)}")
        return files

    @field_serializer("files")
    def _as_objects(self, files: tuple[StoredFile, ...]) -> list[dict[str, Any]]:
        return [file._asdict() for file in files]

    @property
    def ref(self) -> ArtifactRef:
        """The artifact that this manifest describes."""
        return ArtifactRef(self.kind, self.id)

    @property
    def bytes(self) -> int:
        """Sizes of all files together."""
        return sum(file.size for file in self.files)


def check_name(name: str) -> str:
    """A logical file name: letters, digits and ._+=- in parts joined by '/'. Raises ValueError otherwise."""
    if not _NAME.match(name) or ".." in name or name.endswith(PART):
        raise ValueError(
            f"{name!r} cannot name a stored file: use letters, digits and . _ + = - "
            f"(parts joined by '/', none starting with a dot, no '..', not ending in {PART!r})"
        )
    return name
