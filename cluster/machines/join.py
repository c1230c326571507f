"""Adds this machine to a cluster that `python -m cluster up --host ADDRESS` started on another one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cluster.machines import settings
from cluster.machines.capacity import local_cpus, local_gpus
from cluster.machines.discover import PlaceError, answers, read_up
from cluster.machines.paths import raylens_home
from cluster.machines.ports import free_port
from cluster.machines.processes import end, is_alive, is_here, machine, new_folder
from cluster.machines.ray_process import RAY_START, is_started, lock, mark_of, start, wait_until, write_record
from configs.requirements.labels import check_labels


class Joined(NamedTuple):
    """What `python -m cluster join` wrote down about the node that it started."""

    address: str  # of the head's GCS
    cpus: int
    gpus: int
    labels: dict[str, str]
    pid: int  # `ray start --block`, the parent of all others
    temp_dir: str
    machine: str
    metrics_port: int = 0
    mark: str = ""  # of that process (marks.py)


def join(
    address: str,
    labels: Mapping[str, str] | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
    wait: float = 120.0,
) -> Joined:
    """Starts a node here that belongs to the head at HOST:PORT. Gives the running one if it joined already.

    `cpus`, `gpus`: what the node offers; by default what this machine has. The token is the head's: RAY_AUTH_TOKEN_PATH,
    RAY_AUTH_TOKEN or $RAYLENS_HOME/token. Raises PlaceError, or ValueError for a label that no node can carry.
    """
    check_labels(labels or {})
    wanted = dict(labels or {}), local_cpus() if cpus is None else cpus, local_gpus() if gpus is None else gpus
    if wanted[1] < 0 or wanted[2] < 0:
        raise PlaceError(f"a node cannot have {wanted[1]} CPUs and {wanted[2]} GPUs")
    with lock():
        head = read_up()
        if head is not None and head.address == address and is_here(head):
            raise PlaceError(f"this machine is the head of {address}: what it has is in the cluster already")
        for path, joined in joined_here():
            if is_alive(joined) and joined.address == address:
                if (joined.labels, joined.cpus, joined.gpus) == wanted:
                    return joined
                raise PlaceError(
                    f"this machine joined {address} already, with {joined.cpus} CPU, {joined.gpus} GPU, labels "
                    f"{joined.labels}: run `python -m cluster down` here first to change that"
                )
            if not is_alive(joined):
                end(joined)
                path.unlink(missing_ok=True)
        return _start(address, *wanted, wait)


def joined_here() -> list[tuple[Path, Joined]]:
    """Records of nodes that were started on this machine, dead or alive. Raises PlaceError if one cannot be read."""
    found = []
    for path in sorted((raylens_home() / "joined").glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            record.pop("created", None)  # a wall-clock time, of an earlier version
            joined = Joined(**record)
        except (ValueError, TypeError, AttributeError) as error:
            raise PlaceError(f"{path} is damaged ({error}): remove it") from None
        if is_here(joined):
            found.append((path, joined))
    return found


def _start(address: str, labels: dict[str, str], cpus: int, gpus: int, wait: float) -> Joined:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise PlaceError(f"{address!r} is not the address of a head: give HOST:PORT, as `python -m cluster up` says it")
    if not answers(address, timeout=5.0):
        raise PlaceError(
            f"no head answers at {address}: start one there with `python -m cluster up --host {host}`, and let this "
            "machine through its firewall"
        )
    home, environment = raylens_home(), dict(os.environ)
    settings.apply(environment)
    _take_token(environment, home / "token")
    folder, metrics_port = new_folder(), free_port()
    log = home / "logs" / f"{folder.name}.log"
    settings.apply_up(environment, home, folder)
    process = start(_command(address, labels, cpus, gpus, metrics_port, folder), environment, log)
    joined = Joined(
        *(address, cpus, gpus, labels, process.pid, str(folder), machine()),
        metrics_port=metrics_port,
        mark=mark_of(process),
    )
    record = home / "joined" / f"{folder.name}.json"
    write_record(record, joined._asdict())
    try:
        wait_until(lambda: is_started(log), process, log, f"the node for {address}", wait)
    except BaseException:
        end(joined)
        record.unlink(missing_ok=True)
        raise
    return joined


def _take_token(environment: dict[str, str], ours: Path) -> None:
    """The head's token. None is made here: another one would be refused there."""
    if environment.setdefault("RAY_AUTH_MODE", "token") != "token" or "RAY_AUTH_TOKEN" in environment:
        return
    token = Path(environment.get("RAY_AUTH_TOKEN_PATH") or ours).expanduser().absolute()
    if not token.is_file():
        raise PlaceError(
            f"{token} is not there: copy $RAYLENS_HOME/token of the head to it (mode 0600), or set RAY_AUTH_TOKEN_PATH"
        )
    environment["RAY_AUTH_TOKEN_PATH"] = str(token)


def _command(address: str, labels: dict[str, str], cpus: int, gpus: int, metrics_port: int, folder: Path) -> list[str]:
    shown = ",".join(f"{key}={value}" for key, value in {"raylens.io/role": "worker", **labels}.items())
    return [
        *(*RAY_START, "--address", address, "--temp-dir", str(folder), "--labels", shown),
        *("--num-cpus", str(cpus), "--num-gpus", str(gpus), "--metrics-export-port", str(metrics_port)),
        *("--dashboard-agent-listen-port", str(free_port())),  # a fixed number by default
        *("--object-store-memory", os.environ.get("RAYLENS_OBJECT_STORE_BYTES") or str(settings.OBJECT_STORE_BYTES)),
    ]
