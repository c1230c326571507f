"""What a job requires: what its row says, and the bytes that it will write to its store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from cluster.catalog import JobRow
from cluster.store import Store, StoreError, StoreUnreachable
from cluster.store.errors import explain
from configs.artifact_ids import ArtifactRef, parse_ref
from configs.base import StageConfig
from configs.requirements import Requirement
from jobs.life.stage_context import grouped_inputs
from jobs.stages import load_stage

if TYPE_CHECKING:  # the store pulls in pyarrow; a command that finds everything done should not wait for it
    from cluster.catalog import JobRow
    from cluster.store import Store

WRITTEN_S = 10.0  # between readings of what a running job has written: one small file for each part


class ResourceDemand:
    """Remembers the requirements of jobs: their bytes are computed from inputs and finished parts in the store."""

    def __init__(self, store_of: Callable[[JobRow], Store]) -> None:
        self._store_of = store_of
        self._requirements: dict[tuple[str, int], Requirement] = {}
        self._left: dict[tuple[str, int], tuple[int, float]] = {}

    def of(self, job: JobRow) -> Requirement:
        """The requirement of an attempt before it starts. Raises StoreError, ValueError."""
        key = (job.id, job.attempt)
        if key not in self._requirements:
            self._requirements[key] = self._compute(job)
        return self._requirements[key]

    def left(self, job: JobRow) -> int:
        """Bytes that a granted job has still to write: what it wrote is missing in what its store calls free already.

        Parts count once they are finished, and work files that are no artifact of the job do not, so it may be less.
        """
        key, now = (job.id, job.attempt), time.monotonic()
        left, at = self._left.get(key, (requirement_of_row(job).store_bytes, -WRITTEN_S))
        if now - at >= WRITTEN_S:
            with suppress(RuntimeError, ValueError, OSError):  # the job itself will say what is wrong
                left = self._compute(job).store_bytes
            self._left[key] = left, now
        return left

    def forget(self, attempts: Collection[tuple[str, int]]) -> None:
        """Forgets all attempts but these."""
        self._requirements = {key: requirement for key, requirement in self._requirements.items() if key in attempts}
        self._left = {key: left for key, left in self._left.items() if key in attempts}

    def _compute(self, job: JobRow) -> Requirement:
        from configs.load import parse_config

        config = parse_config(job.stage, job.config, job.id)
        outputs = [parse_ref(ref) for ref in job.outputs]
        requirement = requirement_of_row(job)
        return with_bytes(requirement, self._store_of(job), config, grouped_inputs(job.inputs), outputs)


def requirement_of_row(job: JobRow) -> Requirement:
    """The requirement that a row records."""
    return Requirement.model_validate(job.requirement)


def with_bytes(
    requirement: Requirement,
    store: Store,
    config: StageConfig,
    inputs: dict[str, list[ArtifactRef]],
    outputs: Sequence[ArtifactRef],
) -> Requirement:
    """The requirement with the bytes that are left to write, once all inputs exist.

    They are what the stage computes from its inputs, else what the plan knew: the size of a download's source.
    """
    if any(store.manifest(ref) is None for refs in inputs.values() for ref in refs):
        return requirement
    # What earlier attempts finished is written already.
    written = sum(file.size for ref in outputs for file, _ in store.parts(ref).values())
    needed = load_stage(config.stage).store_bytes(config, inputs, store) or requirement.store_bytes
    return requirement.model_copy(update={"store_bytes": max(0, needed - written)})


RETRY_S = 10.0  # a store that does not answer costs seconds a request, and a hundred jobs may need it


class StorePool:
    """The stores of jobs, by URL: that of whoever submitted the job, else the dispatcher's own."""

    def __init__(self, own: Store) -> None:
        self._own = own
        self._opened = {own.url: own}
        self._free: dict[str, int | None] = {}
        self._unreachable: dict[str, tuple[StoreUnreachable, float]] = {}

    def begin_pass(self) -> None:
        """Begins a new pass, in which each store is asked once for its free bytes."""
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

    def check_reachable(self, job: JobRow) -> None:
        """Raises StoreUnreachable, without a request, if the job's store did not answer a moment ago."""
        error, at = self._unreachable.get(self.url(job), (None, 0.0))
        if error is not None and time.monotonic() - at < RETRY_S:
            raise error

    def set_unreachable(self, job: JobRow, error: StoreUnreachable) -> None:
        """Remembers that the store of a job did not answer."""
        if self._unreachable.get(self.url(job), (None, 0.0))[0] is not error:
            self._unreachable[self.url(job)] = error, time.monotonic()

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
