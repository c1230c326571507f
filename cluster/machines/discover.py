"""Which cluster a command uses: the one it runs in, the one that `python -m cluster up` started, or one of its own."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import NamedTuple

from cluster.machines.home import raylens_home


class PlaceError(RuntimeError):
    """The cluster that was asked for cannot be used. The message says what would be right."""


class Place(NamedTuple):
    """A cluster to use. Without an address: one of its own, for the time the command takes."""

    address: str | None  # of the GCS, HOST:PORT
    why: str
    dashboard: str | None = None
    token: Path | None = None

    @property
    def own(self) -> bool:
        """True if the cluster lives and ends with the command."""
        return self.address is None


class Up(NamedTuple):
    """What `python -m cluster up` wrote down about the cluster that it started."""

    address: str
    dashboard: str
    pid: int  # `ray start --block`, the parent of all others
    created: float  # when that process was created, so that a reused pid is not taken for it
    temp_dir: str
    token: str | None


def discover() -> Place:
    """Decides without Ray. Raises PlaceError if RAY_ADDRESS is not an address that a driver can join."""
    up = read_up()
    token = Path(up.token) if up and up.token else None
    address = os.environ.get("RAY_ADDRESS")
    if address in ("local",):
        return Place(None, "RAY_ADDRESS=local")
    if address and up and address in (up.dashboard, up.address):
        return Place(up.address, f"RAY_ADDRESS={address}", up.dashboard, token)
    if address and address.startswith(("http://", "https://", "ray://")):
        raise PlaceError(
            f"RAY_ADDRESS={address} is not an address that a driver can join: unset it, set it to the HOST:PORT of "
            "the cluster's GCS, or run the command there with `ray job submit --working-dir . -- python -m jobs ...`"
        )
    if address:
        return Place(address, f"RAY_ADDRESS={address}")
    if up:
        return Place(up.address, "started by `python -m cluster up`", up.dashboard, token)
    return Place(None, "no cluster is running")


def up_file() -> Path:
    """Where `up` writes what it started."""
    return raylens_home() / "cluster.json"


def read_up() -> Up | None:
    """The cluster that `up` started, if it still lives."""
    try:
        up = Up(**json.loads(up_file().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise PlaceError(f"{up_file()} is damaged ({error}): remove it, then run `python -m cluster up`") from None
    return up if is_alive(up) and answers(up.address) else None


def is_alive(up: Up) -> bool:
    """True while the process that `up` started exists."""
    import psutil

    try:
        process = psutil.Process(up.pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - up.created) < 1)
    except psutil.NoSuchProcess:
        return False


def answers(address: str, timeout: float = 2.0) -> bool:
    """True if something accepts connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=timeout):
            return True
    except OSError:
        return False


def in_ray_job() -> bool:
    """True in a driver that `ray job submit` started. Ray tells it by this variable, which is not a public name."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def ray_job_working_dir() -> str | None:
    """The URI of the working directory of the Ray job that this process is, to start another job with the same."""
    text = os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR")
    uri = json.loads(text).get("runtime_env", {}).get("working_dir") if text else None
    return uri if isinstance(uri, str) else None
