"""How a job ended: the failure that a person reads, and whether the same is worth another attempt."""

from __future__ import annotations

import errno
import random
import re
import sys
from typing import NamedTuple

from actors.error_serialization import WorkerError

_GOES_ON = "the next attempt goes on from the last checkpoint"
_GPU_ADVICE = (
    "use a smaller batch_rows, or for training fewer SAEs in one run or fewer block_steps; other processes may use the "
    "same GPU (see nvidia-smi)"
)
# Ray's own errors, by class name so that this file does not import Ray: (code, advice).
_RAY = {
    "TaskUnschedulableError": ("unschedulable", "require less, or add nodes"),
    "ActorUnschedulableError": ("unschedulable", "require less, or add nodes"),
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


def failure_of(error: BaseException) -> Failure:
    """What to record and to say about an error."""
    cause = root_cause(error)
    name, is_rays = type(cause).__name__, type(cause).__module__.startswith("ray.")
    if name in _RAY and is_rays:
        code, advice = _RAY[name]
        return Failure(code, f"{shortened(_first_line(str(cause) or name))} ({advice})", True)
    text = WorkerError.of(cause)
    if text.for_people:
        return Failure(snake_case(text.name), shortened(text.message), True)
    if _is_gpu_memory(text):
        what = _first_line(text.message).split(". GPU")[0]
        return Failure("out_of_gpu_memory", f"a GPU has too little memory: {shortened(what)}; {_GPU_ADVICE}", True)
    if text.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" ({cause.filename})" if isinstance(cause, OSError) and cause.filename else ""
        return Failure("store_full", f"a disk is full: {text.message}{where}; free some space and run it again", True)
    if text.name == "MemoryError":
        return Failure("out_of_memory", "this process ran out of memory; use smaller batches or a larger machine", True)
    return Failure("internal_error", f"unexpected {text.name}: {shortened(_first_line(text.message))}", False)


def shortened(message: str, most: int = 380) -> str:
    """A message of at most `most` characters: its middle is left out."""
    return message if len(message) <= most else f"{message[: most * 2 // 3]} ... {message[5 - most // 3 :]}"


def _first_line(message: str) -> str:
    return (message.strip() or "no message").splitlines()[0]


def _is_gpu_memory(error: WorkerError) -> bool:
    if error.module.split(".")[0] != "torch" and error.name != "RuntimeError":
        return False
    return error.name == "OutOfMemoryError" or any(
        part in error.message
        for part in ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    )


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
    return snake_case(error.__name__)


def snake_case(name: str) -> str:
    """`HookNotFound` -> `hook_not_found`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


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
    # Ray fails all waiting work of a size when other work of that size requires labels that no node has.
    "unschedulable": 3,
    # The network.
    "source_unreachable": 4,
    "endpoint_unreachable": 4,
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
