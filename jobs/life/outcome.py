"""How a job ended: the failure that a person reads, and whether the same is worth another attempt."""

from __future__ import annotations

import errno
import random
import re
import sys
from typing import NamedTuple

_OURS = {"sae", "configs", "cluster", "actors", "jobs"}
_GOES_ON = "the next attempt goes on from the last checkpoint"
# Ray's own errors, by class name so that this file does not import Ray: (code, advice).
_RAY = {
    "TaskUnschedulableError": ("unschedulable", "ask for less, or add nodes"),
    "ActorUnschedulableError": ("unschedulable", "ask for less, or add nodes"),
    "OutOfMemoryError": ("out_of_memory", "run it with fewer workers or smaller batches, or on a larger machine"),
    "ActorDiedError": ("worker_died", _GOES_ON),
    "ActorUnavailableError": ("worker_died", _GOES_ON),
    "WorkerCrashedError": ("worker_died", _GOES_ON),
    "LocalRayletDiedError": ("node_died", _GOES_ON),
    "NodeDiedError": ("node_died", _GOES_ON),
    "ObjectLostError": ("node_died", _GOES_ON),
    "OwnerDiedError": ("node_died", _GOES_ON),
    "RaySystemError": ("cluster_gone", _GOES_ON),
    "RpcError": ("cluster_gone", _GOES_ON),
    "WorkerGroupError": ("worker_died", _GOES_ON),
}


class Failure(NamedTuple):
    """Why a job failed. `expected` is False for what looks like a fault of RayLens itself."""

    code: str
    message: str
    expected: bool

    @property
    def retryable(self) -> bool:
        """Whether another try of the same may end otherwise."""
        return tries_for(self.code) > 1


class JobFailed(RuntimeError):
    """A job that another one stands on did not succeed. Carries the failure as it was."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failure_of(error: BaseException) -> Failure:
    """What to record and to say about an error."""
    cause = root_cause(error)
    if isinstance(cause, JobFailed):
        return cause.failure
    name, words = type(cause).__name__, str(cause).strip() or type(cause).__name__
    if name in _RAY and type(cause).__module__.startswith("ray."):
        code, advice = _RAY[name]
        return Failure(code, f"{words.splitlines()[0]} ({advice})", True)
    if _is_ours(cause):
        return Failure(code_of(type(cause)), words, True)
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure("store_full", f"a disk is full: {words}; free some space and run it again", True)
    if isinstance(cause, MemoryError):
        return Failure("out_of_memory", "this process ran out of memory; use smaller batches or a larger machine", True)
    return Failure("internal_error", f"unexpected {name}: {words.splitlines()[0]}", False)


def _is_ours(error: BaseException) -> bool:
    """True for errors meant for people: classes of ours, and a plain ValueError or RuntimeError of our code."""
    if not isinstance(error, ValueError | RuntimeError):
        return False
    if type(error) not in (ValueError, RuntimeError):
        return type(error).__module__.split(".")[0] in _OURS
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and str(frame.tb_frame.f_globals.get("__name__", "")).split(".")[0] in _OURS


def root_cause(error: BaseException) -> BaseException:
    """The error that a worker raised, out of Ray's and Ray Train's wrappings."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = _inside(error)
        if inner is None:
            break
        error = inner
    return error


def code_of(error: type[BaseException]) -> str:
    """`HookNotFound` -> `hook_not_found`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__).lower()


def _inside(error: BaseException) -> BaseException | None:
    if not type(error).__module__.startswith("ray.") and "ray.exceptions" not in _bases(error):
        return None
    failures = getattr(error, "worker_failures", None)  # Ray Train: by rank; the lowest rank speaks for all
    if isinstance(failures, dict) and failures:
        return next((failures[rank] for rank in sorted(failures) if isinstance(failures[rank], BaseException)), None)
    for name in ("cause", "controller_failure", "__cause__"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            return inner
    return None


def _bases(error: BaseException) -> set[str]:
    """Modules of the error's classes: Ray raises a class made on the spot that is both RayTaskError and the cause's."""
    if "ray" not in sys.modules:
        return set()
    return {base.__module__ for base in type(error).__mro__}


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


class Outcome(NamedTuple):
    """How a job ended. `message` is for people, `failure` is None unless it FAILED."""

    job_id: str
    state: str
    artifacts: list[str]
    message: str = ""
    failure: Failure | None = None
