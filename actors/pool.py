"""Fixed chunks of work over a pool of actors. An actor that dies is replaced and its chunk is done again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

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
    waiting = deque(chunks)
    pool: _Pool[Chunk] = _Pool(make_actor, max_deaths)
    try:
        for _ in range(min(n_actors, len(chunks))):
            pool.start()
        while waiting or pool.running:
            stopping = should_stop()
            while pool.idle and waiting and not stopping:
                pool.give(method, waiting.popleft())
            if stopping and not pool.running:
                return False
            pool.check_starts()
            for chunk, done, result in pool.answers():
                if done:
                    on_done(chunk, result)
                else:
                    waiting.appendleft(chunk)
        return True
    finally:
        pool.kill()


class _Pool(Generic[Chunk]):
    """Actors: those that start, those that work at a chunk, and those that could."""

    def __init__(self, make_actor: Callable[[], Any], max_deaths: int) -> None:
        self._make, self._max_deaths = make_actor, max_deaths
        self._starting: dict[Any, Any] = {}
        self.running: dict[Any, tuple[Any, Chunk]] = {}
        self.idle: list[Any] = []
        self._deaths = 0
        self._worked = time.monotonic()

    def start(self) -> None:
        """Makes an actor, which is idle once it has answered."""
        actor = self._make()
        self._starting[actor.__ray_ready__.remote()] = actor

    def give(self, method: str, chunk: Chunk) -> None:
        """Has an idle actor work at a chunk."""
        actor = self.idle.pop()
        self.running[actor.__ray_call__.remote(call_method, method, chunk)] = (actor, chunk)

    def check_starts(self) -> None:
        """Raises WorkersDidNotStart if no actor has worked, or could have, for START_S."""
        if self.running or self.idle:
            self._worked = time.monotonic()
        elif time.monotonic() - self._worked > START_S:
            raise WorkersDidNotStart(
                f"none of {len(self._starting)} worker(s) started in {START_S:.0f} s, though their resources were granted. "
                "Something that this catalog does not know of may use them: see `ray status`"
            )

    def answers(self) -> Iterator[tuple[Chunk, bool, Any]]:
        """Chunks that actors have answered for within a second, whether they are done, and the results."""
        ready, _ = ray.wait([*self.running, *self._starting], timeout=1.0)
        for reference in ready:
            actor, *chunks = self.running.pop(reference, None) or (self._starting.pop(reference),)
            try:
                result = result_of(reference)
            except (RayActorError, OutOfMemoryError) as error:  # the second: killed by Ray's memory monitor
                self._replace(actor, error)
                yield from ((chunk, False, None) for chunk in chunks)
            else:
                self.idle.append(actor)
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
        self.start()

    def kill(self) -> None:
        """Ends all of them."""
        for actor in [*self.idle, *self._starting.values(), *(actor for actor, _ in self.running.values())]:
            ray.kill(actor)
