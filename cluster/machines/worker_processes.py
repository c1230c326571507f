"""The processes that work for a driver, so that "ended" can mean that they are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

GONE_S = 5.0


def actors_here() -> list[psutil.Process]:
    """This machine's processes of the actors of the connected driver. Ray ends those of other nodes by itself.

    Workers of tasks need no look: they end with the lease, which ends with the driver's connection.
    """
    import psutil
    import ray
    from ray._private.state import state  # no public name tells the pids of a job's actors without the dashboard

    context = ray.get_runtime_context()
    here = context.get_node_id()
    found = []
    for actor in state.actor_table(None, ray.JobID.from_hex(context.get_job_id())).values():
        address = actor["Address"]
        if address["NodeID"] == here and actor["State"] in ("ALIVE", "PENDING_CREATION", "RESTARTING") and actor["Pid"]:
            try:
                found.append(psutil.Process(actor["Pid"]))
            except psutil.NoSuchProcess:
                continue
    return found


def wait_gone(processes: list[psutil.Process], seconds: float = GONE_S) -> list[psutil.Process]:
    """Waits for processes to end; kills what is left after that. Gives what outlived even this."""
    import psutil

    _, left = psutil.wait_procs(processes, timeout=seconds)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    outlived: list[psutil.Process] = psutil.wait_procs(left, timeout=1.0)[1]
    return outlived


def end_tree(pid: int, seconds: float = 2.0) -> None:
    """Kills a process and what it started, without a chance to object; returns once they are gone or time is over."""
    import psutil

    try:
        top = psutil.Process(pid)
        tree = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(tree, timeout=seconds)
