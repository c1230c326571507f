"""Records of a cluster under another host's name: of a machine that shares the home, or of this one before it was renamed."""

from __future__ import annotations

from cluster.machines.discover import PlaceError, Up, answers
from cluster.machines.ports import own_address
from cluster.machines.ray_process import head_log, is_written
from cluster.process_identity import boot_of, this_boot


def may_live(up: Up) -> bool:
    """False only if the cluster has ended for certain, as in a container that was made anew around a home that stayed.

    It has if nothing answers where it would be seen from here: its address is this machine's (loopback is every
    machine's), or it was started in this boot. A loopback address may be another machine's own, too: as long as a head
    lives its log is locked, which the others see where the shared disk passes locks on.
    """
    seen_from_here = _is_own(up.address) or (bool(this_boot()) and boot_of(up.mark) == this_boot())
    # An earlier version's record has no mark, and its head did not lock the log.
    return not (up.mark and seen_from_here) or answers(up.address) or is_written(head_log())


def _is_own(address: str) -> bool:
    try:
        own_address(address.rpartition(":")[0])
    except PlaceError:
        return False
    return True
