"""Fixed chunks of work over a pool of actors. An actor that dies is replaced and its chunk is done again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from actors.error_serialization import call_method, result_of
from configs.requirements import Requirement

Chunk = TypeVar("Chunk")


# From an actor's making to its first answer. Its resources were granted before, so this is for a slow disk to load a process
# that imports torch; the resources are free, or something outside the catalog uses them, and Ray would wait.
START_S = 180.0


class WorkersDidNotStart(RuntimeError):
    """The resources were granted, but the workers did not start in time."""


class WorkersKeepDying(RuntimeError):
    """Workers died again and again without finishing a chunk."""


def worker_options(requirement: Requirement) -> dict[str, Any]:
    """Ray's options for a worker of the size that the job was granted."""
    return {
        "num_cpus": requirement.cpus,
        "num_gpus": requirement.gpus,
        "memory": requirement.memory or None,
        "label_selector": requirement.labels or None,
    }


def run_chunks(
    make_actor: Callable[[], Any],
    chunks: Sequence[Chunk],
    n_actors: int,
    method: str,
    on_done: Callable[[Chunk, Any], None],
    should_stop: Callable[[], bool] = lambda: False,
    max_deaths: int = 5,
) -> bool:
    """Calls `method(chunk)` of some actor for every chunk; `on_done(chunk, result)` runs here, in order of completion.

    An error that the method raises ends the run and is raised, in its own class where that can be (worker_errors.py).
    Actors load what they need in their first call, not in `__init__`, whose errors Ray gives no class. `max_deaths` bounds
    deaths in a row without a finished chunk. Only actors that have started get chunks, so those that find no resources
    delay none; WorkersDidNotStart if no actor works and none starts. Returns False if `should_stop` ended it early;
    chunks in flight are finished first.
    """
    with Pool(max_deaths) as pool:
        return pool.run(make_actor, chunks, n_actors, method, on_done, should_stop)


class Pool:
    """Actors: those that start, those that work at a chunk, and those that could. They live until its block ends."""

    def __init__(self, max_deaths: int = 5) -> None:
        self._max_deaths = max_deaths
        self._make: Callable[[], Any] = lambda: None
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Any, Any]] = {}
        self._idle: list[Any] = []
        self._deaths = 0
        self._worked = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for actor in [*self._idle, *self._starting.values(), *(actor for actor, _ in self._running.values())]:
            ray.kill(actor)

    def run(
        self,
        make_actor: Callable[[], Any],
        chunks: Sequence[Chunk],
        n_actors: int,
        method: str,
        on_done: Callable[[Chunk, Any], None],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """As run_chunks, with the actors that an earlier run has left; `make_actor` makes those that are missing."""
        waiting = deque(chunks)
        self._prepare(make_actor, min(n_actors, len(chunks)))
        while waiting or self._running:
            stopping = should_stop()
            while self._idle and waiting and not stopping:
                self._give(method, waiting.popleft())
            if stopping and not self._running:
                return False
            self._check_starts()
            for chunk, done, result in self._answers():
                if done:
                    on_done(chunk, result)
                else:
                    waiting.appendleft(chunk)
        return True

    def _prepare(self, make_actor: Callable[[], Any], n_actors: int) -> None:
        for actor in self._starting.values():  # which found no place where the earlier run wanted it
            ray.kill(actor)
        self._starting.clear()
        self._make, self._worked = make_actor, time.monotonic()
        for _ in range(n_actors - len(self._idle)):
            self._start()

    def _start(self) -> None:
        """Makes an actor, which is idle once it has answered."""
        actor = self._make()
        self._starting[actor.__ray_ready__.remote()] = actor

    def _give(self, method: str, chunk: Any) -> None:
        """Has an idle actor work at a chunk."""
        actor = self._idle.pop()
        self._running[actor.__ray_call__.remote(call_method, method, chunk)] = (actor, chunk)

    def _check_starts(self) -> None:
        """Raises WorkersDidNotStart if no actor has worked, or could have, for START_S."""
        if self._running or self._idle:
            self._worked = time.monotonic()
        elif time.monotonic() - self._worked > START_S:
            raise WorkersDidNotStart(
                f"none of {len(self._starting)} worker(s) started in {START_S:.0f} s, though their resources were granted. "
                "Something that this catalog does not know of may use them: see `ray status`"
            )

    def _answers(self) -> Iterator[tuple[Any, bool, Any]]:
        """Chunks that actors have answered for within a second, whether they are done, and the results."""
        ready, _ = ray.wait([*self._running, *self._starting], timeout=1.0)
        for reference in ready:
            actor, *chunks = self._running.pop(reference, None) or (self._starting.pop(reference),)
            try:
                result = result_of(reference)
            except (RayActorError, OutOfMemoryError) as error:  # the second: killed by Ray's memory monitor
                self._replace(actor, error)
                yield from ((chunk, False, None) for chunk in chunks)
            else:
                self._idle.append(actor)
                for chunk in chunks:
                    self._deaths = 0
                    yield chunk, True, result

    def _replace(self, actor: Any, error: RayError) -> None:
        if getattr(error, "actor_init_failed", False):
            raise error
        ray.kill(actor)
        self._deaths += 1
        if self._deaths > self._max_deaths:
            raise WorkersKeepDying(
                f"workers died {self._deaths} times in a row without finishing a chunk (last: {error}). A common "
                f"cause is memory: lower batch_rows or rows_per_chunk, or give the stage more memory"
            ) from error
        self._start()
