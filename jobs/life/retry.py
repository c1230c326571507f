"""Which failures are worth another try as they are, how often and after how long. Decided here and nowhere else."""

from __future__ import annotations

import random

# Tries in all, counted since the last durable progress: a job that gets on is never given up for what happens to it.
TRIES = {
    # What surrounds a job: its process, its workers, their nodes.
    "driver_gone": 5,
    "driver_never_started": 3,
    "cluster_gone": 10,
    "worker_died": 5,
    "workers_keep_dying": 2,  # five deaths in a row each time
    "node_died": 5,
    "preempted": 10,
    "workers_did_not_start": 3,
    # Ray fails all waiting work of a size when other work of that size asks for labels that no node has.
    "unschedulable": 3,
    # The network.
    "source_unreachable": 4,
    "store_unreachable": 4,
    "catalog_unreachable": 4,
}
FIRST_S = 2.0
LONGEST_S = 120.0


def tries_for(code: str | None) -> int:
    """How often a job that fails like this is tried in all; 1 for what would fail again: bad input, too little memory."""
    return TRIES.get(code or "", 1)


def delay(tries: int, rng: random.Random | None = None) -> float:
    """Seconds before the try after `tries` failed ones: doubled each time, at most two minutes, and up to half shorter.

    The jitter keeps jobs that failed together from coming back together.
    """
    longest = min(LONGEST_S, FIRST_S * 2.0 ** (tries - 1))
    return longest * (1 - 0.5 * (rng or random).random())
