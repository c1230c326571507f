"""The settings of one API."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from configs.settings import settings

DEFAULT_PORT = 8000
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
    host: str = Field("127.0.0.1", description="Address that the server listens on.")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="Port that the server listens on.")
    hosts: tuple[str, ...] = Field((), description="Host names that clients use for it, beside its address.")
    origins: tuple[str, ...] = Field((), description="Origins of web pages, beside its own, that may call it.")
    body_bytes: int = Field(1 << 20, ge=1, description="Largest request body.")
    requests: int = Field(
        900, ge=1, description="Requests and streams that one replica works on at once; below Serve's limit of 1,000."
    )
    streams: int = Field(500, ge=1, description="Open event streams of one replica.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the interactive language model runs.")

    @classmethod
    def from_environment(
        cls, host: str = "127.0.0.1", port: int = DEFAULT_PORT, device: Literal["cpu", "cuda"] = "cpu"
    ) -> ApiSettings:
        """Settings from RAYLENS_HOME, RAYLENS_DATA_ROOTS, RAYLENS_API_HOSTS and RAYLENS_API_ORIGINS."""
        given = settings()
        return cls(
            home=given.home,
            data_roots=given.data_folders,
            host=host,
            port=port,
            device=device,
            hosts=given.api_hosts,
            origins=given.api_origins,
        )

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
