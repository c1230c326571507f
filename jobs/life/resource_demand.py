"""What a job requires: what its row says, and the bytes that it will write to its store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cluster.records import JobRow
from cluster.store import Store, StoreError, StoreUnreachable
from cluster.store.errors import explain
from configs.base import StageConfig
from configs.identity import ArtifactRef, parse_ref
from configs.profiles import Profile, requirement_for
from configs.requirements import Requirement
from jobs.life.planner import Step
from jobs.life.stage_context import grouped_inputs
from jobs.stages import load_stage

if TYPE_CHECKING:  # the store pulls in pyarrow; a command that finds everything done should not wait for it
    from cluster.records import JobRow
    from cluster.store import Store

WRITTEN_S = 10.0  # between looks at what a running job has written: a note is read for each part


class ResourceDemand:
    """Remembers what jobs ask for: to tell the bytes, inputs and finished parts are read in the store."""

    def __init__(self, store_of: Callable[[JobRow], Store]) -> None:
        self._store_of = store_of
        self._needs: dict[tuple[str, int], Requirement] = {}
        self._left: dict[tuple[str, int], tuple[int, float]] = {}

    def of(self, job: JobRow) -> Requirement:
        """What an attempt asks for before it starts. Raises StoreError, ValueError."""
        key = (job.id, job.attempt)
        if key not in self._needs:
            self._needs[key] = self._asked(job)
        return self._needs[key]

    def left(self, job: JobRow) -> int:
        """Bytes that a granted job has still to write: what it wrote is missing in what its store calls free already.

        Parts count once they are finished, and work files that are no artifact of the job do not, so it may be less.
        """
        key, now = (job.id, job.attempt), time.monotonic()
        left, at = self._left.get(key, (requirement_of_row(job.requirement).store_bytes, -WRITTEN_S))
        if now - at >= WRITTEN_S:
            with suppress(RuntimeError, ValueError, OSError):  # the job itself will say what is wrong
                left = self._asked(job).store_bytes
            self._left[key] = left, now
        return left

    def forget(self, held: Collection[tuple[str, int]]) -> None:
        """Forgets all attempts but these."""
        self._needs = {key: requirement for key, requirement in self._needs.items() if key in held}
        self._left = {key: left for key, left in self._left.items() if key in held}

    def _asked(self, job: JobRow) -> Requirement:
        from configs.load import parse_config

        config = parse_config(job.stage, job.config, job.id)
        outputs = [parse_ref(ref) for ref in job.outputs]
        requirement = requirement_of_row(job.requirement)
        return with_bytes(requirement, self._store_of(job), config, grouped_inputs(job.inputs), outputs)


def requirement_of_row(row: dict[str, Any]) -> Requirement:
    """The requirement that a row records; rows of before may hold more beside it."""
    return Requirement.model_validate({k: v for k, v in row.items() if k in Requirement.model_fields})


def with_bytes(
    requirement: Requirement,
    store: Store,
    config: StageConfig,
    inputs: dict[str, list[ArtifactRef]],
    outputs: Sequence[ArtifactRef],
) -> Requirement:
    """The requirement with the bytes that are left to write, once all inputs are there.

    They are what the stage tells of its inputs, else what the plan knew: the size of a download's source.
    """
    if any(store.manifest(ref) is None for refs in inputs.values() for ref in refs):
        return requirement
    # What earlier attempts finished is written already.
    written = sum(file.size for ref in outputs for file, _ in store.parts(ref).values())
    needed = load_stage(config.stage).store_bytes(config, inputs, store) or requirement.store_bytes
    return requirement.model_copy(update={"store_bytes": max(0, needed - written)})


def step_requirement(step: Step, profile: Profile) -> Requirement:
    """What a step requires before its inputs are there: the profile's word, the config's over it, the plan's bytes."""
    known = sum(output.store_bytes for output in step.outputs)
    return requirement_for(step.config, profile).model_copy(update={"store_bytes": known})


ASK_AGAIN_S = 10.0  # a store that is away lets each question wait for seconds, and a hundred jobs may ask


class StorePool:
    """By the URL that whoever asked for a job uses; without one, the dispatcher's own."""

    def __init__(self, own: Store) -> None:
        self._own = own
        self._opened = {own.url: own}
        self._free: dict[str, int | None] = {}
        self._away: dict[str, tuple[StoreUnreachable, float]] = {}

    def look(self) -> None:
        """Begins a new look: what is free is asked once in it, of each store."""
        self._free.clear()

    def url(self, job: JobRow) -> str:
        """Names the store of a job."""
        return (job.environment or {}).get("env_vars", {}).get("RAYLENS_STORE") or self._own.url

    def of(self, job: JobRow) -> Store:
        """The store of a job. Raises StoreError if its URL names none."""
        url = self.url(job)
        if url not in self._opened:
            self._opened[url] = Store.open(url)
        return self._opened[url]

    def answering(self, job: JobRow) -> Store:
        """The store of a job, unless it did not answer a moment ago: then raises StoreUnreachable, without asking."""
        error, at = self._away.get(self.url(job), (None, 0.0))
        if error is not None and time.monotonic() - at < ASK_AGAIN_S:
            raise error
        return self.of(job)

    def missed(self, job: JobRow, error: StoreUnreachable) -> None:
        """The store of a job did not answer."""
        if self._away.get(self.url(job), (None, 0.0))[0] is not error:
            self._away[self.url(job)] = error, time.monotonic()

    def free(self, job: JobRow) -> int | None:
        """Bytes that the store of a job can still take; None where that is unknown. Raises StoreError."""
        return self._free_in(self.of(job))

    def own_free(self) -> int | None:
        """The same of the dispatcher's own store; None if it does not say."""
        with suppress(StoreError):  # a job that needs it says what is wrong with it
            return self._free_in(self._own)
        return None

    def _free_in(self, store: Store) -> int | None:
        if store.url not in self._free:
            try:
                self._free[store.url] = store.free_bytes()
            except OSError as error:
                raise explain("tell what is free in", "", error, store.url) from error
        return self._free[store.url]
