"""Processes of what was started on this machine: whether they live, what they left, and ending them and no others."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cluster.machines.ray_environment import CLUSTER
from cluster.process_identity import process_identity

if TYPE_CHECKING:
    import psutil

_PREFIX = "raylens-up-"
GRACE_S, GONE_S = 5.0, 10.0


class ProcessRecord(Protocol):
    """What a record of something started says about its processes."""

    @property
    def pid(self) -> int:
        """`ray start --block`, the parent of all others."""

    @property
    def identity(self) -> str:
        """process_identity() of it: no other process with that pid has it."""

    @property
    def temp_dir(self) -> str:
        """Folder of its sockets and logs; its processes carry this in their command lines or environments."""

    @property
    def machine(self) -> str:
        """The host that it was started on."""


def host_name() -> str:
    """This host's name in records: a home on a shared disk is seen by several."""
    return socket.gethostname()


def is_local(started: ProcessRecord) -> bool:
    """True if it was started on this host, or lives on it: a host may be renamed."""
    return started.machine == host_name() or is_alive(started)


def is_alive(started: ProcessRecord) -> bool:
    """True while the process that was started exists, here."""
    return process_identity(started.pid) == started.identity


def has_parts(started: ProcessRecord, names: set[str]) -> bool:
    """True if these programs live below its process."""
    import psutil

    try:
        parts = psutil.Process(started.pid).children(recursive=True)
        return names <= {part.name() for part in parts if part.status() != psutil.STATUS_ZOMBIE}
    except psutil.NoSuchProcess:
        return False


def new_folder() -> Path:
    """A folder for sockets and logs; directly under /tmp, for a socket's path may have 107 characters."""
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))


def processes_of(temp_dir: str) -> list[psutil.Process]:
    """Processes of this user that belong to the cluster or node with this folder; never this one or its parents.

    Workers rename themselves, so that their command lines say nothing; their environments do.
    """
    import psutil

    me = psutil.Process()
    mine = {me.pid, *(parent.pid for parent in me.parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid in mine or process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if any(_names(part, temp_dir) for part in process.cmdline()) or process.environ().get(CLUSTER) == temp_dir:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def end_processes(started: ProcessRecord) -> list[int]:
    """Ends it: its processes, in order where its parent lives, what they left, and its folder. Gives the pids.

    What runs on it is not waited for: a detached actor alone would keep a node for half a minute.
    """
    import psutil

    tree: list[psutil.Process] = []
    if is_alive(started):
        parent = psutil.Process(started.pid)
        tree = [parent, *parent.children(recursive=True)]
        parent.terminate()  # `ray start --block` ends its components in order
        psutil.wait_procs(tree, timeout=GRACE_S)
    left = [process for process in {*tree, *processes_of(started.temp_dir)} if process.is_running()]
    for process in left:  # drivers and workers, which live in sessions of their own
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=GONE_S)
    folder = Path(started.temp_dir)
    if folder.parent == Path("/tmp") and folder.name.startswith(_PREFIX):  # a damaged record must not cost more
        shutil.rmtree(folder, ignore_errors=True)
    return sorted({process.pid for process in (*tree, *left)})


def _names(part: str, temp_dir: str) -> bool:
    """Whether an argument contains the folder, and not another one whose name goes on."""
    _, found, rest = part.partition(temp_dir)
    return bool(found) and not (rest[:1].isalnum() or rest[:1] == "_")
