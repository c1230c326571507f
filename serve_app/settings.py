"""The settings of one API."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from configs.settings import settings

DEFAULT_PORT = 8000
PIECE_BYTES = 64 << 20  # Serve's proxy keeps as much of a body in memory as the replica has not taken yet
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


class ApiSettings(BaseModel):
    """Places, names and limits of one API. `ApiSettings.from_environment()` reads what operators may set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Annotated[Path, AfterValidator(_absolute)] = Field(description="RAYLENS_HOME: catalog, logs, tokens.")
    data_roots: tuple[Annotated[Path, AfterValidator(_absolute)], ...] = Field(
        (), description="Folders for local sources. A request names a path below one of them."
    )
    label_endpoints: tuple[str, ...] = Field(
        (), description="Base URLs of model servers that requests may have labels asked of."
    )
    host: str = Field("127.0.0.1", description="Address that the server listens on.")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="Port that the server listens on.")
    hosts: tuple[str, ...] = Field((), description="Host names that clients use for it, beside its address.")
    origins: tuple[str, ...] = Field((), description="Origins of web pages, beside its own, that may call it.")
    body_bytes: int = Field(1 << 20, ge=1, description="Largest request body.")
    uploads: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None, description="Folder of uploads; `uploads` in home if it is not set."
    )
    upload_bytes: int = Field(20 << 30, ge=1, description="Largest upload, all its files together.")
    piece_bytes: int = Field(PIECE_BYTES, ge=1, description="Largest piece of an uploaded file.")
    requests: int = Field(
        900, ge=1, description="Requests and streams that one replica works on at once; below Serve's limit of 1,000."
    )
    streams: int = Field(500, ge=1, description="Open event streams of one replica.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the interactive language model runs.")

    @classmethod
    def from_environment(
        cls, host: str = "127.0.0.1", port: int = DEFAULT_PORT, device: Literal["cpu", "cuda"] = "cpu"
    ) -> ApiSettings:
        """Settings from the environment: RAYLENS_HOME, RAYLENS_DATA_ROOTS, RAYLENS_UPLOADS and so on."""
        given = settings()
        return cls(
            home=given.home,
            data_roots=given.data_folders,
            label_endpoints=given.label_endpoints,
            uploads=given.uploads_folder,
            upload_bytes=given.upload_bytes,
            host=host,
            port=port,
            device=device,
            hosts=given.api_hosts,
            origins=given.api_origins,
        )

    @property
    def uploads_folder(self) -> Path:
        """The folder of uploads."""
        return self.uploads or self.home / "uploads"

    @property
    def loopback(self) -> bool:
        """True if only this machine can reach the server."""
        return is_loopback(self.host)

    def allowed_hosts(self) -> frozenset[str]:
        """Names, without port, that the Host header of a request can have. Others are a sign of DNS rebinding."""
        own = self.host if ":" not in self.host else f"[{self.host}]"
        return frozenset(name.lower() for name in (*_LOOPBACK_NAMES, own, *self.hosts))


def is_loopback(host: str) -> bool:
    """True for an address or name that only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
