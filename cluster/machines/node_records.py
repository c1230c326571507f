"""Records of the head and the nodes that `up` and `join` started, as JSON files below RAYLENS_HOME."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from cluster.file_locks import is_locked
from cluster.machines.errors import ClusterError
from cluster.machines.paths import raylens_home
from cluster.machines.ports import answers, own_address
from cluster.machines.processes import is_alive, is_local
from cluster.machines.ray_process import head_log
from cluster.process_identity import boot_of, current_boot


class HeadRecord(NamedTuple):
    """The cluster that `python -m cluster up` started."""

    address: str  # of the GCS, HOST:PORT
    dashboard: str
    pid: int  # `ray start --block`, the parent of all others
    temp_dir: str  # of this cluster alone
    token: str | None
    machine: str  # name of the host that it was started on
    identity: str  # process_identity() of that process, so that a reused pid is not taken for it
    session: str = ""  # Ray's name of this run of it, by which it differs from an earlier one at the same address
    metrics_port: int = 0  # Prometheus metrics of the head: http://HOST:PORT/metrics


class NodeRecord(NamedTuple):
    """The node that `python -m cluster join` started."""

    address: str  # of the head's GCS
    cpus: int
    gpus: int
    labels: dict[str, str]
    pid: int  # `ray start --block`, the parent of all others
    temp_dir: str
    machine: str
    identity: str  # process_identity() of that process
    metrics_port: int = 0


def head_file() -> Path:
    """The file of the head's record."""
    return raylens_home() / "cluster.json"


def recorded_head() -> HeadRecord | None:
    """The head's record, whether it lives or not. Raises ClusterError if it cannot be read."""
    try:
        return HeadRecord(**json.loads(head_file().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise ClusterError(f"{head_file()} is damaged ({error}): remove it, then run `python -m cluster up`") from None


def running_head() -> HeadRecord | None:
    """The head's record if the head lives. Raises ClusterError if it cannot be read."""
    head = recorded_head()
    return head if head and (is_alive(head) or not is_local(head)) and answers(head.address) else None


def recorded_nodes() -> list[tuple[Path, NodeRecord]]:
    """Records of nodes that were started on this machine, dead or alive. Raises ClusterError if one cannot be read."""
    found = []
    for path in sorted((raylens_home() / "joined").glob("*.json")):
        try:
            node = NodeRecord(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, AttributeError) as error:
            raise ClusterError(f"{path} is damaged ({error}): remove it") from None
        if is_local(node):
            found.append((path, node))
    return found


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a record so that a reader sees all of it or the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(dict(record), indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


@contextmanager
def records_locked() -> Iterator[None]:
    """One `up`, `join` or `down` of a home at a time: the second sees what the first has done."""
    with FileLock(raylens_home() / "cluster.lock"):
        yield


def may_live(head: HeadRecord) -> bool:
    """Whether a head that was started under another host name may still live.

    It has ended for certain, as in a container that was made anew around a home that stayed, if nothing answers at its
    address although this machine would see it: the address is this machine's (loopback is every machine's), or the
    head was started in this boot. A loopback address may also be another machine's own: as long as a head lives its log
    is locked, which the others see where the shared disk passes locks on.
    """
    visible = _is_own(head.address) or (bool(current_boot()) and boot_of(head.identity) == current_boot())
    return not visible or answers(head.address) or is_locked(head_log())


def _is_own(address: str) -> bool:
    try:
        own_address(address.rpartition(":")[0])
    except ClusterError:
        return False
    return True
