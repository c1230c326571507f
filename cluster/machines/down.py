"""Ends what `up` and `join` started on this machine, and nothing else."""

from __future__ import annotations

from pathlib import Path

from cluster.machines.discover import PlaceError, recorded_up, up_file
from cluster.machines.foreign_host import may_live
from cluster.machines.join import joined_here
from cluster.machines.processes import Started, end, is_here, machine
from cluster.machines.ray_process import lock


def down() -> list[int]:
    """Ends the nodes that joined from here and the head that was started here, with all of their processes.

    Gives the pids that were ended; none if nothing was up. Raises PlaceError if the head is on another machine.
    """
    with lock():
        ended: list[int] = []
        for path, joined in joined_here():
            ended += end(joined)
            path.unlink(missing_ok=True)
        head = recorded_up()
        if head is not None and not is_here(head) and may_live(head):
            if ended:  # a node that shares its home with the head
                return ended
            raise PlaceError(
                f"the cluster was started on {head.machine}, and this is {machine()}: run `python -m cluster down` there"
            )
        if head is not None:
            ended += end(head)
            up_file().unlink(missing_ok=True)
        return ended


def end_only(started: Started) -> list[int]:
    """Ends one head or node that was started here, and forgets it; others of this machine go on. Gives the pids.

    Raises PlaceError if a record cannot be read, once it has ended.
    """
    with lock():
        ended = end(started)
        records: list[tuple[Path, Started | None]] = [(up_file(), recorded_up()), *joined_here()]
        for path, record in records:
            if record is not None and record.temp_dir == started.temp_dir:  # not of one that took its place meanwhile
                path.unlink(missing_ok=True)
        return ended
