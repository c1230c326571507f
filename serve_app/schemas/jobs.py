"""Jobs, their events, and the answer to a request for one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from cluster.catalog import AttemptRow, JobRow, State
from serve_app.schemas.common import FromRow, Redacted


class Progress(FromRow):
    """Progress of the phase that runs now."""

    phase: str | None = Field(description="Phase of the stage that runs now.", examples=["train"])
    done: int | None = Field(description="Units that are done.", examples=[640])
    total: int | None = Field(description="All units.", examples=[4800])
    unit: str | None = Field(description="Name of the unit.", examples=["rows"])
    rate: float | None = Field(description="Units a second.", examples=[21.4])
    eta_s: float | None = Field(description="Seconds until the phase ends at this rate.", examples=[194.0])
    durable: int | None = Field(description="Units in the last checkpoint: the next attempt continues after them.")


class Blocked(FromRow):
    """Why a job does not run yet."""

    kind: str = Field(
        description="`inputs` (other jobs make them), `resources`, `nodes` (the autoscaler adds them), `turn` (jobs before it "
        "in the queue), `same_artifact` (another job makes it), `store` (it does not answer) or `retry` (a pause before the "
        "next attempt).",
        examples=["resources"],
    )
    reason: Redacted = Field("", description="The reason in words.")
    requirement: str | None = Field(None, description="What the job requires.")
    capacity: str | None = Field(None, description="What the cluster has.")
    blocked_by: list[str] = Field([], description="Ids of the jobs that it waits for.")
    largest_workers: int | None = Field(
        None, description="The number of such workers that the cluster can run at once."
    )


_EXAMPLE: dict[str, Any] = {
    "id": "tokenize-5c1e09b7aa", "stage": "tokenize", "state": "RUNNING", "attempt": 1, "project": "default", "name": None,
    "tags": [], "notes": "", "created_by": "api:ada", "created_at": "2026-11-24T18:48:48.595Z",
    "updated_at": "2026-11-24T18:49:20.120Z", "message": "granted: it starts as tokenize-5c1e09b7aa-a1", "code": None,
    "retryable": False, "resumable": False, "cancel": None,
    "progress": {"phase": "tokenize", "done": 640, "total": 4800, "unit": "documents", "rate": 214.5, "eta_s": 19.4,
                 "durable": 512},
    "blocked": None, "deadline": None, "parent": None, "artifacts": ["tokens/67d5273bd9611bd1"], "last_event": 3,
}  # fmt: skip


class JobSummary(FromRow):
    """One job, as lists have it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str = Field(description="The job's id.", examples=["train-0f3c9a7b21"])
    stage: str = Field(description="Its stage.", examples=["train"])
    state: State = Field(description="Its state.")
    attempt: int = Field(description="Number of its last attempt, from 1.")
    project: str = Field(description="Its project.")
    name: str | None = Field(description="Its name, if it has one.")
    tags: list[str] = Field(description="Its tags.")
    notes: str = Field(description="Its notes.")
    created_by: str = Field(description="Who submitted it.")
    created_at: datetime = Field(description="When it was submitted.")
    updated_at: datetime = Field(description="When its row last changed.")
    message: Redacted | None = Field(description="Its last message.")
    code: str | None = Field(description="Stable name of the reason, if it failed.", examples=["cannot_fit"])
    retryable: bool = Field(description="Whether the same request may succeed later.")
    resumable: bool = Field(description="Whether it can continue from a checkpoint.")
    cancel: str | None = Field(description="`stop` or `cancel`, if that was requested.")
    progress: Progress
    blocked: Blocked | None = Field(description="Why it waits; null if it runs or has ended.")
    deadline: datetime | None = Field(description="When it fails if it still waits for resources.")
    parent: str | None = Field(description="The job that it was submitted for.")
    artifacts: list[str] = Field(
        description="References of the artifacts that it makes.", examples=[["saes/67d5273bd9611bd1"]]
    )
    last_event: int = Field(description="Number of its last event.")

    @classmethod
    def from_row(cls, row: JobRow, **more: Any) -> Self:
        """From a row."""
        own = {name: getattr(row, name) for name in JobSummary.model_fields if hasattr(row, name)}
        return cls(**own, **more, progress=Progress.model_validate(row), artifacts=row.outputs)


class Attempt(FromRow):
    """One execution of a job."""

    number: int = Field(description="Its number, from 1.")
    state: State = Field(description="Its state.")
    started_at: datetime = Field(description="When it began.")
    ended_at: datetime | None = Field(description="When it ended.")
    granted_at: datetime | None = Field(description="When it was admitted.")
    ray_job: str | None = Field(description="The Ray job of its driver process, as the Ray dashboard shows it.")
    code: str | None = Field(description="Stable name of the reason for its end.")
    message: Redacted | None = Field(description="The reason in words.")


class Job(JobSummary):
    """One job with its config and attempts."""

    config: dict[str, Any] = Field(description="The stage's config, with all defaults, and `auto` resolved.")
    requirement: dict[str, Any] = Field(description="The resources that it requires.")
    inputs: dict[str, str] = Field(description="Its inputs, by role.")
    profile: str = Field(description="Its resource profile.")
    wait_s: float = Field(description="Seconds that it may wait for resources.")
    attempts: list[Attempt] = Field(description="All attempts, the first first.")

    @classmethod
    def detail(cls, row: JobRow, attempts: Sequence[AttemptRow], config: dict[str, Any]) -> Self:
        """From its rows; `config` is the row's, as clients may see it."""
        own = {name: getattr(row, name) for name in ("requirement", "inputs", "profile", "wait_s")}
        return cls.from_row(
            row, config=config, attempts=[Attempt.model_validate(attempt) for attempt in attempts], **own
        )


class Accepted(BaseModel):
    """A submitted job: follow it at `Location`, or by its events."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{
                "job": {**_EXAMPLE, "state": "QUEUED", "message": None, "last_event": 1},
                "created": True, "artifacts": _EXAMPLE["artifacts"], "jobs": [_EXAMPLE["id"]],
            }]
        }
    )  # fmt: skip

    job: JobSummary
    created: bool = Field(description="False if the same job exists already, live or done.")
    artifacts: list[str] = Field(
        description="References of the artifacts that it makes; they are known before it runs.",
        examples=[["tokens/67d5273bd9611bd1"]],
    )
    jobs: list[str] = Field(
        description="This job and the unfinished jobs that make its inputs; inputs first, this job last."
    )


class Event(FromRow):
    """A change of state, or a message."""

    seq: int = Field(description="Number among the events of all jobs: the id in the stream of all jobs.")
    number: int = Field(description="Number among the events of its job: the id in the stream of one job.")
    job: str = Field(validation_alias="job_id", description="The job.")
    attempt: int = Field(description="The attempt.")
    at: datetime = Field(description="Time.")
    kind: str = Field(description="`state` or `log`.")
    state: State = Field(description="The job's state after the event.")
    message: Redacted | None = Field(description="The message.")
    data: dict[str, Any] | None = Field(description="Details for programs.")
