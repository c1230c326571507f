"""The RAYLENS_* variables of the environment: the one place where they are named, read and described."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "RAYLENS_"


def _folder(path: Path) -> Path:
    return path.expanduser().resolve()


def _separated_by(separator: str) -> BeforeValidator:
    def split(text: Any) -> Any:
        return tuple(filter(None, (part.strip() for part in text.split(separator)))) if isinstance(text, str) else text

    return BeforeValidator(split)


Folder = Annotated[Path, AfterValidator(_folder)]
Names = Annotated[tuple[str, ...], NoDecode, _separated_by(",")]


class SettingsError(RuntimeError):
    """A variable of the environment has a value that it cannot have. The message names both."""


class Settings(BaseSettings):
    """What the environment sets. A variable that is empty counts as not set."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    home: Folder = Field(
        Path("~/.raylens"), validate_default=True, description="catalog, logs, token, reports; the head's local disk"
    )
    database_url: str | None = Field(
        None,
        description="the catalog: `postgresql://USER:PASSWORD@HOST/NAME`, or another SQLite file",
        json_schema_extra={"default": "$RAYLENS_HOME/catalog.db"},
    )
    store: str | None = Field(
        None,
        description="artifacts: a shared folder or `s3://BUCKET/PREFIX`",
        json_schema_extra={"default": "$RAYLENS_HOME/store"},
    )
    cache: Folder | None = Field(
        None,
        description="each node's copies of artifacts from S3",
        json_schema_extra={"default": "$RAYLENS_HOME/cache"},
    )
    uploads: Folder | None = Field(
        None,
        description="files that were uploaded over HTTP: a folder of the head, or one that all nodes share",
        json_schema_extra={"default": "$RAYLENS_HOME/uploads"},
    )
    upload_bytes: int = Field(20 << 30, ge=1, description="bytes of one upload, all its files together, at most")
    cpus: int | None = Field(
        None,
        ge=1,
        description="CPUs that `up`, `join` or a command's own cluster declares",
        json_schema_extra={"default": "those of the machine"},
    )
    object_store_bytes: int = Field(
        512 << 20, ge=75 << 20, description="bytes of the object store of a node that `up`, `join` or a command starts"
    )
    node_types: str | None = Field(
        None,
        description="node types that the autoscaler can add, for the environment of the head: a JSON list of "
        '`{"name", "cpus", "gpus", "memory", "labels", "max"}`',
    )
    data_roots: Annotated[tuple[Folder, ...], NoDecode, _separated_by(os.pathsep)] = Field(
        (),
        description="folders that `local` sources of requests to the API may lie in, joined by `:`",
        json_schema_extra={"default": "$RAYLENS_HOME/data"},
    )
    api_hosts: Names = Field(
        (), description="host names that clients may call the API by, beside its address; joined by `,`"
    )
    api_origins: Names = Field(
        (), description="origins of web pages that may call the API, beside its own; joined by `,`"
    )
    label_endpoints: Names = Field(
        (), description="base URLs of model servers that requests to the API may have labels asked of; joined by `,`"
    )
    label_key: SecretStr | None = Field(
        None,
        description="key for the model server of the label stage, on every node; or a file with it",
        json_schema_extra={"default": "$RAYLENS_HOME/label_key"},
    )

    @property
    def store_url(self) -> str:
        """The store's URL: a folder or s3://BUCKET/PREFIX."""
        return self.store or str(self.home / "store")

    @property
    def cache_folder(self) -> Path:
        """This node's cache."""
        return self.cache or self.home / "cache"

    @property
    def uploads_folder(self) -> Path:
        """The folder of uploads."""
        return self.uploads or self.home / "uploads"

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """Folders that local sources of requests may lie in."""
        return self.data_roots or (self.home / "data",)


def settings() -> Settings:
    """The settings in this process' environment as it is now. Raises SettingsError."""
    try:
        return Settings()
    except ValidationError as error:
        faults = (f"{PREFIX}{str(one['loc'][0]).upper()}={one['input']!r}: {one['msg']}" for one in error.errors())
        raise SettingsError("; ".join(faults)) from None


def variables_table() -> str:
    """The variables as the Markdown table of docs/operations.md."""
    rows = ["| variable | meaning | default |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        shown = extra["default"] if isinstance(extra, dict) else field.default
        default = f"`{shown}`" if "$" in str(shown) or isinstance(shown, Path) else str(shown or "")
        rows.append(f"| `{PREFIX}{name.upper()}` | {field.description} | {default} |")
    return "\n".join(rows).replace("|  |", "| |") + "\n"
