"""Jobs, their events, and what a request for one is answered with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from cluster.records import AttemptRow, EventRow, JobRow, State
from serve_app.schemas.common import utc_datetime
from serve_app.security.redaction import redact


class Progress(BaseModel):
    """How far the phase is that runs now."""

    phase: str | None = Field(description="Part of the stage that runs now.", examples=["train"])
    done: int | None = Field(description="Units done.", examples=[640])
    total: int | None = Field(description="Units in all.", examples=[4800])
    unit: str | None = Field(description="What is counted.", examples=["rows"])
    rate: float | None = Field(description="Units a second.", examples=[21.4])
    eta_s: float | None = Field(description="Seconds that the phase still takes at this rate.", examples=[194.0])
    durable: int | None = Field(description="Units that are safe on disk: a next attempt goes on after them.")


class Blocked(BaseModel):
    """Why a job does not run yet."""

    model_config = ConfigDict(extra="allow")

    kind: str = Field(
        description="`inputs` (in the making), `resources`, `nodes` (that the autoscaler adds), `turn` (others asked before), "
        "`same_artifact` (another job makes it), `store` (it does not answer) or `retry` (a pause before the next attempt).",
        examples=["resources"],
    )
    reason: str | None = Field(None, description="In words.")
    requirement: Any = Field(None, description="What the job asks for.")
    capacity: Any = Field(None, description="What the cluster has.")
    blocked_by: list[str] = Field(default_factory=list, description="Ids of the jobs that hold what it waits for.")
    largest_workers: int | None = Field(None, description="Workers of this size that could ever run at once.")


_EXAMPLE: dict[str, Any] = {
    "id": "tokenize-5c1e09b7aa", "stage": "tokenize", "state": "RUNNING", "attempt": 1, "project": "default", "name": None,
    "tags": [], "notes": "", "created_by": "api:ada", "created_at": "2026-11-24T18:48:48.595Z",
    "updated_at": "2026-11-24T18:49:20.120Z", "message": "granted: it starts as tokenize-5c1e09b7aa-a1", "code": None,
    "retryable": False, "resumable": False, "cancel": None,
    "progress": {"phase": "tokenize", "done": 640, "total": 4800, "unit": "documents", "rate": 214.5, "eta_s": 19.4,
                 "durable": 512},
    "blocked": None, "deadline": None, "parent": None, "artifacts": ["tokens/67d5273bd9611bd1"], "last_event": 3,
}  # fmt: skip


class JobSummary(BaseModel):
    """One job, as lists have it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str = Field(description="The job's id.", examples=["train-0f3c9a7b21"])
    stage: str = Field(description="What it does.", examples=["train"])
    state: State = Field(description="Where it stands.")
    attempt: int = Field(description="Number of the attempt that holds it: 1 at first.")
    project: str = Field(description="Its project.")
    name: str | None = Field(description="Its name, if it has one.")
    tags: list[str] = Field(description="Its tags.")
    notes: str = Field(description="Its notes.")
    created_by: str = Field(description="Who asked for it.")
    created_at: datetime = Field(description="When it was asked for.")
    updated_at: datetime = Field(description="When its row last changed.")
    message: str | None = Field(description="The last thing that it said.")
    code: str | None = Field(description="Stable name of why it ended, if it failed.", examples=["cannot_fit"])
    retryable: bool = Field(description="Whether the same request may succeed if it is tried again.")
    resumable: bool = Field(description="Whether it can go on from what is safe on disk.")
    cancel: str | None = Field(description="`stop` or `cancel`, if it was asked to end.")
    progress: Progress
    blocked: Blocked | None = Field(description="Why it does not run yet; null if it runs or has ended.")
    deadline: datetime | None = Field(description="When it fails if it still waits for machines.")
    parent: str | None = Field(description="The job on whose behalf it was made.")
    artifacts: list[str] = Field(description="What it makes, or has made.", examples=[["saes/67d5273bd9611bd1"]])
    last_event: int = Field(description="Number of its last event.")

    @classmethod
    def from_row(cls, row: JobRow, **more: Any) -> Self:
        """From a row."""
        progress = {name: getattr(row, name) for name in Progress.model_fields}
        blocked = row.blocked and {**row.blocked, "reason": redact(str(row.blocked.get("reason") or ""))}
        own = {
            name: getattr(row, name)
            for name in JobSummary.model_fields
            if name not in ("progress", "blocked", "artifacts", "message", "created_at", "updated_at", "deadline")
        }
        return cls(
            **own,
            **more,
            progress=Progress(**progress),
            blocked=None if blocked is None else Blocked(**blocked),
            artifacts=list(row.outputs),
            message=None if row.message is None else redact(row.message),
            created_at=utc_datetime(row.created_at),
            updated_at=utc_datetime(row.updated_at),
            deadline=None if row.deadline is None else utc_datetime(row.deadline),
        )


class Attempt(BaseModel):
    """One try at a job."""

    number: int = Field(description="1, 2, ...")
    state: State = Field(description="Where it stands, or how it ended.")
    started_at: datetime = Field(description="When it began.")
    ended_at: datetime | None = Field(description="When it ended.")
    granted_at: datetime | None = Field(description="When it was let start.")
    ray_job: str | None = Field(description="The Ray job that drives it, as the Ray dashboard shows it.")
    code: str | None = Field(description="Stable name of why it ended.")
    message: str | None = Field(description="Why it ended, in words.")

    @classmethod
    def from_row(cls, row: AttemptRow) -> Self:
        """From a row."""
        return cls(
            number=row.number,
            state=row.state,
            started_at=utc_datetime(row.started_at),
            ended_at=None if row.ended_at is None else utc_datetime(row.ended_at),
            granted_at=None if row.granted_at is None else utc_datetime(row.granted_at),
            ray_job=row.ray_job,
            code=row.code,
            message=None if row.message is None else redact(row.message),
        )


class Job(JobSummary):
    """One job with its config and attempts."""

    config: dict[str, Any] = Field(description="The stage's config, with every default and `auto` settled.")
    requirement: dict[str, Any] = Field(description="What it asks of the machines.")
    inputs: dict[str, str] = Field(description="Its inputs, by role.")
    profile: str = Field(description="The resource profile that was chosen.")
    wait_s: float = Field(description="Seconds that it may wait for machines.")
    attempts: list[Attempt] = Field(description="All attempts, the first first.")

    @classmethod
    def detail(cls, row: JobRow, attempts: Sequence[AttemptRow], config: dict[str, Any]) -> Self:
        """From its rows; `config` is the row's, as clients may see it."""
        own = {name: getattr(row, name) for name in ("requirement", "inputs", "profile", "wait_s")}
        return cls.from_row(row, config=config, attempts=[Attempt.from_row(attempt) for attempt in attempts], **own)


class Accepted(BaseModel):
    """A job that was asked for: follow it at `Location`, or by its events."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{
                "job": {**_EXAMPLE, "state": "QUEUED", "message": None, "last_event": 1},
                "created": True, "artifacts": _EXAMPLE["artifacts"], "jobs": [_EXAMPLE["id"]],
            }]
        }
    )  # fmt: skip

    job: JobSummary
    created: bool = Field(description="False if an equal job was there already, live or done: this is it.")
    artifacts: list[str] = Field(
        description="References of what it makes or has made: known before it runs.",
        examples=[["tokens/67d5273bd9611bd1"]],
    )
    jobs: list[str] = Field(description="All jobs that it stands on and that are not done, inputs first, itself last.")


class Event(BaseModel):
    """A change of state or a mark in the log."""

    seq: int = Field(description="Number among the events of all jobs; the id of the stream of all jobs.")
    number: int = Field(description="Number among the events of its job; the id of the stream of one job.")
    job: str = Field(description="The job.")
    attempt: int = Field(description="The attempt.")
    at: datetime = Field(description="When.")
    kind: str = Field(description="`state` or `log`.")
    state: State = Field(description="The job's state from then on.")
    message: str | None = Field(description="In words.")
    data: dict[str, Any] | None = Field(description="More, for programs.")

    @classmethod
    def from_row(cls, row: EventRow) -> Self:
        """From a row."""
        data = getattr(row, "data", None)
        return cls(
            seq=row.seq,
            number=row.number,
            job=row.job_id,
            attempt=row.attempt,
            at=utc_datetime(row.at),
            kind=row.kind,
            state=row.state,
            message=None if row.message is None else redact(row.message),
            data=data,
        )
