"""Ends what `up` and `join` started on this machine, and nothing else."""

from __future__ import annotations

from pathlib import Path

from cluster.machines.errors import ClusterError
from cluster.machines.node_records import head_file, may_live, recorded_head, recorded_nodes, records_locked
from cluster.machines.processes import ProcessRecord, end_processes, host_name, is_local


def down() -> list[int]:
    """Ends the nodes that joined from here and the head that was started here, with all of their processes.

    Gives the pids that were ended; none if nothing was up. Raises ClusterError if the head is on another machine.
    """
    with records_locked():
        ended: list[int] = []
        for path, joined in recorded_nodes():
            ended += end_processes(joined)
            path.unlink(missing_ok=True)
        head = recorded_head()
        if head is not None and not is_local(head) and may_live(head):
            if ended:  # a node that shares its home with the head
                return ended
            raise ClusterError(
                f"the cluster was started on {head.machine}, and this is {host_name()}: run `python -m cluster down` there"
            )
        if head is not None:
            ended += end_processes(head)
            head_file().unlink(missing_ok=True)
        return ended


def end_only(started: ProcessRecord) -> list[int]:
    """Ends one head or node that was started here, and forgets it; others of this machine go on. Gives the pids.

    Raises ClusterError if a record cannot be read, once it has ended.
    """
    with records_locked():
        ended = end_processes(started)
        records: list[tuple[Path, ProcessRecord | None]] = [(head_file(), recorded_head()), *recorded_nodes()]
        for path, record in records:
            if record is not None and record.temp_dir == started.temp_dir:  # not of one that took its place meanwhile
                path.unlink(missing_ok=True)
        return ended
