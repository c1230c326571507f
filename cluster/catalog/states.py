"""The states of a job and the one table of legal moves between them."""

from __future__ import annotations

from enum import StrEnum

from cluster.catalog.errors import IllegalMove


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "QUEUED"
    WAITING = "WAITING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    LOST = "LOST"


# Within one attempt. A move to the same state is not a move.
MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset(
        {State.WAITING, State.RUNNING, State.FAILED, State.CANCELLING, State.CANCELLED, State.LOST}
    ),
    State.WAITING: frozenset({State.RUNNING, State.FAILED, State.CANCELLING, State.CANCELLED, State.LOST}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLING, State.CANCELLED, State.LOST}),
    State.CANCELLING: frozenset({State.FAILED, State.CANCELLED, State.LOST}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.LOST: frozenset(),
}
LIVE = frozenset(state for state, moves in MOVES.items() if moves)
ENDED = frozenset(State) - LIVE


def check_move(job_id: str, old: State, new: State) -> None:
    """Raises IllegalMove unless a job may go from `old` to `new` within one attempt."""
    if new not in MOVES[old]:
        legal = ", ".join(sorted(MOVES[old])) or "nothing: it has ended"
        raise IllegalMove(f"job {job_id} is {old} and cannot become {new}; from {old} it can become {legal}")
