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
    head, address = running_head(), os.environ.get("RAY_ADDRESS")
    if address == "local":
        return ClusterTarget(None, "RAY_ADDRESS=local")
    if head is not None and (reason := _reason_for(head, address)):
        token = Path(head.token) if head.token else None
        return ClusterTarget(head.address, reason, head.dashboard, token, head)
    if address and address.startswith(("http://", "https://", "ray://")):
        raise ClusterError(
            f"RAY_ADDRESS={address} is not an address that a driver can join: unset it, set it to the HOST:PORT of "
            "the cluster's GCS, or run the command there with `ray job submit --working-dir . -- python -m jobs ...`"
        )
    if address:
        return ClusterTarget(address, f"RAY_ADDRESS={address}")
    return ClusterTarget(None, "no cluster is running")


def _reason_for(head: HeadRecord, address: str | None) -> str | None:
    """Why a command uses the cluster that `up` started; None if RAY_ADDRESS names another."""
    if not address:
        return "started by `python -m cluster up`"
    if address in (head.dashboard, head.address):
        return f"RAY_ADDRESS={address}"
    if os.environ.get(ray_environment.CLUSTER) == head.temp_dir and _port(address) == _port(head.address):
        return "it runs on it as a Ray job"  # such a job gets another name of the same address
    return None


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def in_ray_job() -> bool:
    """True in a driver that `ray job submit` started. Ray sets this variable; its name is not public."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def ray_job_working_dir() -> str | None:
    """The URI of the working directory of the Ray job that this process is, to start another job with the same."""
    text = os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR")
    uri = json.loads(text).get("runtime_env", {}).get("working_dir") if text else None
    return uri if isinstance(uri, str) else None
