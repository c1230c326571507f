"""Which cluster a command uses: the one it runs in, the one that `python -m cluster up` started, or one of its own."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import NamedTuple

from cluster.machines import settings
from cluster.machines.paths import raylens_home
from cluster.machines.processes import is_alive, is_here


class PlaceError(RuntimeError):
    """The cluster that was asked for cannot be used. The message says what would be right."""


class Up(NamedTuple):
    """What `python -m cluster up` wrote down about the cluster that it started."""

    address: str
    dashboard: str
    pid: int  # `ray start --block`, the parent of all others
    temp_dir: str  # of this cluster alone
    token: str | None
    session: str = ""  # Ray's name of this run of it, by which it differs from an earlier one at the same address
    metrics_port: int = 0  # Prometheus metrics of the head: http://HOST:PORT/metrics
    machine: str = ""  # the host that it was started on
    mark: str = ""  # of that process (marks.py), so that a reused pid is not taken for it


class Place(NamedTuple):
    """A cluster to use. Without an address: one of its own, for the time the command takes."""

    address: str | None  # of the GCS, HOST:PORT
    why: str
    dashboard: str | None = None
    token: Path | None = None
    up: Up | None = None  # the record of `python -m cluster up`, if it is that one

    @property
    def own(self) -> bool:
        """True if the cluster lives and ends with the command."""
        return self.address is None


def discover() -> Place:
    """Decides without Ray. Raises PlaceError if RAY_ADDRESS is not an address that a driver can join."""
    up = read_up()
    token = Path(up.token) if up and up.token else None
    address = os.environ.get("RAY_ADDRESS")
    if address in ("local",):
        return Place(None, "RAY_ADDRESS=local")
    if address and up and address in (up.dashboard, up.address):
        return Place(up.address, f"RAY_ADDRESS={address}", up.dashboard, token, up)
    if address and address.startswith(("http://", "https://", "ray://")):
        raise PlaceError(
            f"RAY_ADDRESS={address} is not an address that a driver can join: unset it, set it to the HOST:PORT of "
            "the cluster's GCS, or run the command there with `ray job submit --working-dir . -- python -m jobs ...`"
        )
    if address and up and os.environ.get(settings.CLUSTER) == up.temp_dir and _port(address) == _port(up.address):
        # A Ray job on that cluster is told another name of the same address.
        return Place(up.address, "it runs on it as a Ray job", up.dashboard, token, up)
    if address:
        return Place(address, f"RAY_ADDRESS={address}")
    if up:
        return Place(up.address, "started by `python -m cluster up`", up.dashboard, token, up)
    return Place(None, "no cluster is running")


def up_file() -> Path:
    """Where `up` writes what it started."""
    return raylens_home() / "cluster.json"


def read_up() -> Up | None:
    """The cluster that `up` started, if it still lives."""
    up = recorded_up()
    return up if up and (is_alive(up) or not is_here(up)) and answers(up.address) else None


def recorded_up() -> Up | None:
    """What `up` wrote down, dead or alive. Raises PlaceError if it cannot be read."""
    try:
        record = json.loads(up_file().read_text(encoding="utf-8"))
        record.pop("created", None)  # a wall-clock time, of an earlier version
        return Up(**record)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise PlaceError(f"{up_file()} is damaged ({error}): remove it, then run `python -m cluster up`") from None


def answers(address: str, timeout: float = 2.0) -> bool:
    """True if something accepts connections at HOST:PORT."""
    try:
        with socket.create_connection((address.rpartition(":")[0], int(_port(address))), timeout=timeout):
            return True
    except OSError:
        return False


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def in_ray_job() -> bool:
    """True in a driver that `ray job submit` started. Ray tells it by this variable, which is not a public name."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def ray_job_working_dir() -> str | None:
    """The URI of the working directory of the Ray job that this process is, to start another job with the same."""
    text = os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR")
    uri = json.loads(text).get("runtime_env", {}).get("working_dir") if text else None
    return uri if isinstance(uri, str) else None
