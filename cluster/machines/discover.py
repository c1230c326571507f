"""Which cluster a command uses: the one it runs in, the one that `python -m cluster up` started, or one of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from cluster.machines import ray_environment
from cluster.machines.errors import ClusterError
from cluster.machines.node_records import HeadRecord, running_head


class ClusterTarget(NamedTuple):
    """The cluster that a command uses. Without an address: a temporary one, started for the command and ended with it."""

    address: str | None  # of the GCS, HOST:PORT
    reason: str
    dashboard: str | None = None
    token: Path | None = None
    head: HeadRecord | None = None  # the record of `python -m cluster up`, if it is that one

    @property
    def temporary(self) -> bool:
        """True if the cluster starts and ends with the command."""
        return self.address is None


def discover() -> ClusterTarget:
    """Decides without Ray. Raises ClusterError if RAY_ADDRESS is not an address that a driver can join."""
    up = running_head()
    token = Path(up.token) if up and up.token else None
    address = os.environ.get("RAY_ADDRESS")
    if address in ("local",):
        return ClusterTarget(None, "RAY_ADDRESS=local")
    if address and up and address in (up.dashboard, up.address):
        return ClusterTarget(up.address, f"RAY_ADDRESS={address}", up.dashboard, token, up)
    if address and address.startswith(("http://", "https://", "ray://")):
        raise ClusterError(
            f"RAY_ADDRESS={address} is not an address that a driver can join: unset it, set it to the HOST:PORT of "
            "the cluster's GCS, or run the command there with `ray job submit --working-dir . -- python -m jobs ...`"
        )
    if (
        address
        and up
        and os.environ.get(ray_environment.CLUSTER) == up.temp_dir
        and _port(address) == _port(up.address)
    ):
        # A Ray job on that cluster gets another name of the same address.
        return ClusterTarget(up.address, "it runs on it as a Ray job", up.dashboard, token, up)
    if address:
        return ClusterTarget(address, f"RAY_ADDRESS={address}")
    if up:
        return ClusterTarget(up.address, "started by `python -m cluster up`", up.dashboard, token, up)
    return ClusterTarget(None, "no cluster is running")


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
