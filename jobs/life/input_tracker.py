"""Whether the inputs of pending jobs exist, which jobs make them, and how those ended that should have made them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from cluster.catalog import AttemptRow, Catalog, CatalogError, JobRow
from cluster.store import Store
from configs.artifact_ids import parse_ref
from configs.stages import STAGES

# A request writes one row after another: the job that makes an input may be about to be recorded.
GRACE_S = 60.0
LOOK_S = 10.0  # between requests to the store for an artifact that no live job makes


class InputStatus(NamedTuple):
    """The inputs of one job. `ended`: how the job must end (state, code, message), as an input will never exist."""

    done: bool  # all artifacts that the job makes exist
    present: int  # inputs
    total: int
    waits_for: tuple[str, ...]  # jobs
    reason: str
    ended: tuple[str, str, str] | None
    all_requested: bool = False  # each that is absent is made by a live job


class InputTracker:
    """Looks up artifacts in the store, and jobs by the artifacts that they make."""

    def __init__(self, catalog: Catalog, store_of: Callable[[JobRow], Store]) -> None:
        self._catalog, self._store_of = catalog, store_of
        self._makers: dict[str, JobRow] = {}
        self._present: dict[tuple[str, str], float] = {}  # when an artifact was last seen in a store
        self._absent: dict[tuple[str, str], float] = {}
        self._since: dict[tuple[str, int], float] = {}
        self._began: dict[tuple[str, int], int] = {}

    def update(self, live: list[tuple[JobRow, AttemptRow]]) -> None:
        """Takes in which live jobs make which artifacts."""
        makers = {ref: job for job, _ in live if not STAGES[job.stage].runs_inputs for ref in job.outputs}
        for ref in self._makers:
            if ref not in makers:  # its maker has ended: the artifact is looked for at once
                self._absent = {key: at for key, at in self._absent.items() if key[1] != ref}
        self._makers = makers
        attempts = {(job.id, job.attempt) for job, _ in live}
        self._since = {key: at for key, at in self._since.items() if key in attempts}
        self._began = {key: seq for key, seq in self._began.items() if key in attempts}

    def of(self, job: JobRow, attempt: AttemptRow) -> InputStatus:
        """The inputs of one job."""
        if job.outputs and all(self._has(job, ref) for ref in job.outputs):
            return InputStatus(True, len(job.inputs), len(job.inputs), (), "", None)
        absent = [ref for ref in dict.fromkeys(job.inputs.values()) if not self._has(job, ref)]
        present = len(set(job.inputs.values())) - len(absent)
        total = len(set(job.inputs.values()))
        if not absent:
            self._since.pop((job.id, job.attempt), None)
            return InputStatus(False, present, total, (), "", None)
        makers = {ref: maker for ref in absent if (maker := self._makers.get(ref)) is not None}
        for ref in absent:
            if ref not in makers and (ended := self._ended(job, attempt, ref)) is not None:
                return InputStatus(False, present, total, (), "", ended)
        named = dict.fromkeys(f"{maker.stage} job {maker.id}" for maker in makers.values())
        reason = (
            f"waits for its inputs, made by {', '.join(named)}" if named else "waits for its inputs to be requested"
        )
        waits_for = tuple(dict.fromkeys(maker.id for maker in makers.values()))
        return InputStatus(False, present, total, waits_for, reason, None, len(makers) == len(absent))

    def _ended(self, job: JobRow, attempt: AttemptRow, ref: str) -> tuple[str, str, str] | None:
        """How a job ends one of whose inputs does not exist and is made by no live job. None while it may yet be requested."""
        maker, ended = self._last_maker(job, ref)
        if ended < self._begin(attempt):
            maker = None  # it ended before this job was submitted, which requests it once more
        if maker is not None and maker.state in ("FAILED", "LOST"):
            return "FAILED", maker.code or "input_failed", maker.message or f"{maker.stage} job {maker.id} failed"
        if maker is not None and maker.state == "CANCELLED":
            return "CANCELLED", "input_cancelled", f"{maker.stage} job {maker.id}, which makes its input, was cancelled"
        since = self._since.setdefault((job.id, job.attempt), time.monotonic())
        if time.monotonic() - since < GRACE_S:
            return None
        message = (
            f"{job.stage}: its input {ref} does not exist and no job makes it: submit the job again, which makes it"
        )
        return "FAILED", "missing_input", message

    def _last_maker(self, job: JobRow, ref: str) -> tuple[JobRow | None, int]:
        """The ended job that should have made an input, and the `seq` of its end among all events.

        One that this request made, or that the row says it waited for; of several, the one that ended last. Events are
        numbered in the order in which they were committed, whatever was done to a clock meanwhile.
        """
        waited = (job.blocked or {}).get("blocked_by", [])
        candidates = []
        for job_id in waited:
            try:
                candidates.append(self._catalog.job(job_id))
            except CatalogError:
                continue
        candidates += self._catalog.jobs(parent=job.id, limit=100)
        if job.parent:
            candidates += self._catalog.jobs(parent=job.parent, limit=100)
        made = [
            row for row in candidates if ref in row.outputs and row.id != job.id and not STAGES[row.stage].runs_inputs
        ]
        ends = {row.id: (row, self._last_event(row)) for row in made}
        return max(ends.values(), key=lambda end: end[1], default=(None, 0))

    def _last_event(self, row: JobRow) -> int:
        return max((event.seq for event in self._catalog.events(row.id, row.last_event - 1)), default=0)

    def _begin(self, attempt: AttemptRow) -> int:
        """The `seq` of an attempt's first event."""
        key, after = (attempt.job_id, attempt.number), 0
        while key not in self._began:
            events = self._catalog.events(attempt.job_id, after)
            if not events:
                return 0
            after = events[-1].number
            first = next((event.seq for event in events if event.attempt == attempt.number), None)
            if first is not None:
                self._began[key] = first
        return self._began[key]

    def _has(self, job: JobRow, ref: str) -> bool:
        """Whether the store has an artifact; its answers are remembered for a while."""
        store = self._store_of(job)
        key, now = (store.url, ref), time.monotonic()
        if now - self._present.get(key, -LOOK_S) < LOOK_S:
            return True
        if ref not in self._makers and now - self._absent.get(key, -LOOK_S) < LOOK_S:
            return False
        if store.manifest(parse_ref(ref)) is not None:
            self._present[key] = now
            return True
        self._present.pop(key, None)
        self._absent[key] = now
        return False
