"""Fixed chunks of work over a pool of actors. An actor that dies is replaced and its chunk is done again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import OutOfMemoryError, RayActorError

from configs.requirements import Requirement

Chunk = TypeVar("Chunk")


class WorkersKeepDying(RuntimeError):
    """Workers died again and again without finishing a chunk."""


def worker_options(need: Requirement) -> dict[str, Any]:
    """Ray's options for a worker of the size that the job was granted."""
    return {
        "num_cpus": need.cpus,
        "num_gpus": need.gpus,
        "memory": need.memory or None,
        "label_selector": need.labels or None,
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

    An error that the method raises ends the run and is raised. Actors load what they need in their first call, not in
    `__init__`: Ray hands on the errors of methods as they are, those of `__init__` as text only. `max_deaths` bounds
    deaths in a row without a finished chunk. Returns False if `should_stop` ended it early; chunks in flight are
    finished first.
    """
    waiting = deque(chunks)
    running: dict[Any, tuple[Any, Chunk]] = {}
    idle = [make_actor() for _ in range(min(n_actors, len(chunks)))]
    deaths = 0
    try:
        while waiting or running:
            stopping = should_stop()
            while idle and waiting and not stopping:
                actor, chunk = idle.pop(), waiting.popleft()
                running[getattr(actor, method).remote(chunk)] = (actor, chunk)
            if not running:
                return False
            ready, _ = ray.wait(list(running), timeout=1.0)
            for reference in ready:
                actor, chunk = running.pop(reference)
                try:
                    result = ray.get(reference)
                except (RayActorError, OutOfMemoryError) as error:  # the second: killed by Ray's memory monitor
                    if getattr(error, "actor_init_failed", False):
                        raise
                    ray.kill(actor)
                    deaths += 1
                    if deaths > max_deaths:
                        raise WorkersKeepDying(
                            f"workers died {deaths} times in a row without finishing a chunk (last: {error}). A common "
                            f"cause is memory: lower batch_rows or rows_per_chunk, or give the stage more memory"
                        ) from error
                    waiting.appendleft(chunk)
                    idle.append(make_actor())
                    continue
                deaths = 0
                on_done(chunk, result)
                idle.append(actor)
        return True
    finally:
        for actor in [*idle, *(actor for actor, _ in running.values())]:
            ray.kill(actor)
