"""Adds this machine to a cluster that `python -m cluster up --host ADDRESS` started on another one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cluster.machines import ray_environment
from cluster.machines.capacity import local_cpus, local_gpus
from cluster.machines.errors import ClusterError
from cluster.machines.node_records import NodeRecord, recorded_nodes, records_locked, running_head, write_record
from cluster.machines.paths import raylens_home
from cluster.machines.ports import answers, free_ports
from cluster.machines.processes import end_processes, host_name, is_alive, is_local, new_folder
from cluster.machines.ray_process import RAY_START, identity_of, is_started, start, wait_until
from configs.requirements.labels import check_labels
from configs.settings import settings


def join(
    address: str,
    labels: Mapping[str, str] | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
    wait: float = 120.0,
) -> NodeRecord:
    """Starts a node here that belongs to the head at HOST:PORT. Gives the running one if it joined already.

    `cpus`, `gpus`: what the node has; by default what this machine has. The token is the head's: RAY_AUTH_TOKEN_PATH,
    RAY_AUTH_TOKEN or $RAYLENS_HOME/token. Raises ClusterError, or ValueError for a label that no node can carry.
    """
    check_labels(labels or {})
    wanted = dict(labels or {}), local_cpus() if cpus is None else cpus, local_gpus() if gpus is None else gpus
    if wanted[1] < 0 or wanted[2] < 0:
        raise ClusterError(f"a node cannot have {wanted[1]} CPUs and {wanted[2]} GPUs")
    with records_locked():
        head = running_head()
        if head is not None and head.address == address and is_local(head):
            raise ClusterError(f"this machine is the head of {address}: what it has is in the cluster already")
        for path, joined in recorded_nodes():
            if is_alive(joined) and joined.address == address:
                if (joined.labels, joined.cpus, joined.gpus) == wanted:
                    return joined
                raise ClusterError(
                    f"this machine joined {address} already, with {joined.cpus} CPU, {joined.gpus} GPU, labels "
                    f"{joined.labels}: run `python -m cluster down` here first to change that"
                )
            if not is_alive(joined):
                end_processes(joined)
                path.unlink(missing_ok=True)
        return _start(address, *wanted, wait)


def _start(address: str, labels: dict[str, str], cpus: int, gpus: int, wait: float) -> NodeRecord:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(
            f"{address!r} is not the address of a head: give HOST:PORT, as `python -m cluster up` says it"
        )
    if not answers(address, timeout=5.0):
        raise ClusterError(
            f"no head answers at {address}: start one there with `python -m cluster up --host {host}`, and let this "
            "machine through its firewall"
        )
    home, environment = raylens_home(), dict(os.environ)
    ray_environment.apply(environment)
    _take_token(environment, home / "token")
    folder, (metrics_port, agent_port) = new_folder(), free_ports(2)
    log = home / "logs" / f"{folder.name}.log"
    ray_environment.apply_up(environment, home, folder)
    process = start(_command(address, labels, cpus, gpus, metrics_port, agent_port, folder), environment, log)
    joined = NodeRecord(
        *(address, cpus, gpus, labels, process.pid, str(folder), host_name(), identity_of(process)),
        metrics_port=metrics_port,
    )
    record = home / "joined" / f"{folder.name}.json"
    write_record(record, joined._asdict())
    try:
        wait_until(lambda: is_started(log), process, log, f"the node for {address}", wait)
    except BaseException:
        end_processes(joined)
        record.unlink(missing_ok=True)
        raise
    return joined


def _take_token(environment: dict[str, str], ours: Path) -> None:
    """The head's token. None is made here: another one would be refused there."""
    if environment.setdefault("RAY_AUTH_MODE", "token") != "token" or "RAY_AUTH_TOKEN" in environment:
        return
    token = Path(environment.get("RAY_AUTH_TOKEN_PATH") or ours).expanduser().absolute()
    if not token.is_file():
        raise ClusterError(
            f"{token} is not there: copy $RAYLENS_HOME/token of the head to it (mode 0600), or set RAY_AUTH_TOKEN_PATH"
        )
    environment["RAY_AUTH_TOKEN_PATH"] = str(token)


def _command(
    address: str, labels: dict[str, str], cpus: int, gpus: int, metrics_port: int, agent_port: int, folder: Path
) -> list[str]:
    shown = ",".join(f"{key}={value}" for key, value in {"raylens.io/role": "worker", **labels}.items())
    return [
        *(*RAY_START, "--address", address, "--temp-dir", str(folder), "--labels", shown),
        *("--num-cpus", str(cpus), "--num-gpus", str(gpus), "--metrics-export-port", str(metrics_port)),
        *("--dashboard-agent-listen-port", str(agent_port)),  # a fixed number by default
        *("--object-store-memory", str(settings().object_store_bytes)),
    ]
