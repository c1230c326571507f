"""Whether the inputs of waiting jobs are there, who makes them, and what became of those who should have."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from cluster.records import AttemptRow, JobRow, Records, RecordsError
from cluster.store import Store
from configs.identity import parse_ref
from jobs.life.plan import stage_runs_inputs

# A request writes one row after another: the job that makes an input may be about to be asked for.
GRACE_S = 60.0
LOOK_S = 10.0  # between looks at the store for an artifact that no live job makes


class Found(NamedTuple):
    """How a job stands to what it needs. `ended`: how it must end (state, code, message), as an input will not come."""

    done: bool  # all that it makes is there
    there: int  # inputs
    total: int
    waits_for: tuple[str, ...]  # jobs
    reason: str
    ended: tuple[str, str, str] | None


class Inputs:
    """Looks artifacts up in the store and jobs up by what they make."""

    def __init__(self, records: Records, store_of: Callable[[JobRow], Store]) -> None:
        self._records, self._store_of = records, store_of
        self._makers: dict[str, JobRow] = {}
        self._there: dict[tuple[str, str], float] = {}  # when an artifact was last seen in a store
        self._absent: dict[tuple[str, str], float] = {}
        self._since: dict[str, float] = {}

    def look(self, live: list[tuple[JobRow, AttemptRow]]) -> None:
        """Learns who makes what now."""
        makers = {ref: job for job, _ in live if not stage_runs_inputs(job.stage) for ref in job.outputs}
        for ref in self._makers:
            if ref not in makers:  # its maker has ended: the artifact is looked for at once
                self._absent = {key: at for key, at in self._absent.items() if key[1] != ref}
        self._makers = makers

    def of(self, job: JobRow, attempt: AttemptRow) -> Found:
        """How one job stands."""
        if job.outputs and all(self._has(job, ref) for ref in job.outputs):
            return Found(True, len(job.inputs), len(job.inputs), (), "", None)
        absent = [ref for ref in dict.fromkeys(job.inputs.values()) if not self._has(job, ref)]
        there = len(set(job.inputs.values())) - len(absent)
        total = len(set(job.inputs.values()))
        if not absent:
            self._since.pop(job.id, None)
            return Found(False, there, total, (), "", None)
        makers = {ref: maker for ref in absent if (maker := self._makers.get(ref)) is not None}
        for ref in absent:
            if ref not in makers and (ended := self._ended(job, attempt, ref)) is not None:
                return Found(False, there, total, (), "", ended)
        named = dict.fromkeys(f"{maker.stage} job {maker.id}" for maker in makers.values())
        reason = (
            f"waits for its inputs, made by {', '.join(named)}" if named else "waits for its inputs to be asked for"
        )
        return Found(False, there, total, tuple(dict.fromkeys(m.id for m in makers.values())), reason, None)

    def _ended(self, job: JobRow, attempt: AttemptRow, ref: str) -> tuple[str, str, str] | None:
        """How a job ends of whose inputs one is not there, and no live job makes it. None while it may yet be asked for."""
        maker = self._last_maker(job, ref)
        if maker is not None and maker.updated_at < attempt.started_at:
            maker = None  # it ended before this was asked for, which asks for it once more
        if maker is not None and maker.state in ("FAILED", "LOST"):
            return "FAILED", maker.code or "input_failed", maker.message or f"{maker.stage} job {maker.id} failed"
        if maker is not None and maker.state == "CANCELLED":
            return "CANCELLED", "input_cancelled", f"{maker.stage} job {maker.id}, which makes its input, was cancelled"
        since = self._since.setdefault(job.id, time.monotonic())
        if time.monotonic() - since < GRACE_S:
            return None
        message = (
            f"{job.stage}: its input {ref} is not there and no job makes it: ask for the job again, which makes it"
        )
        return "FAILED", "missing_input", message

    def _last_maker(self, job: JobRow, ref: str) -> JobRow | None:
        """The ended job that should have made an input: one that this request made, or that the row says it waited for."""
        waited = (job.blocked or {}).get("holders", [])
        candidates = []
        for job_id in waited:
            try:
                candidates.append(self._records.job(job_id))
            except RecordsError:
                continue
        candidates += self._records.jobs(parent=job.id, limit=100)
        if job.parent:
            candidates += self._records.jobs(parent=job.parent, limit=100)
        made = [
            row for row in candidates if ref in row.outputs and row.id != job.id and not stage_runs_inputs(row.stage)
        ]
        return max(made, key=lambda row: row.updated_at, default=None)

    def _has(self, job: JobRow, ref: str) -> bool:
        """Whether the store has an artifact. While a job makes it there is no need to look each second."""
        store = self._store_of(job)
        key, now = (store.url, ref), time.monotonic()
        if now - self._there.get(key, -LOOK_S) < LOOK_S:
            return True
        if ref not in self._makers and now - self._absent.get(key, -LOOK_S) < LOOK_S:
            return False
        if store.manifest(parse_ref(ref)) is not None:
            self._there[key] = now
            return True
        self._there.pop(key, None)
        self._absent[key] = now
        return False
