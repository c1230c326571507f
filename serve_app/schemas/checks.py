"""What a request for a job would come to, before it is submitted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from serve_app.schemas.plans import TrainingPlan

Verdict = Literal["fits", "waits", "can_never_fit"]


class StepCheck(BaseModel):
    """One job that the request would run, compared with the cluster as it is now."""

    stage: str = Field(description="Its stage.", examples=["tokenize"])
    fits: Verdict = Field(description="`fits` (it would start now), `waits` or `can_never_fit`.")
    requires: str = Field(description="What it requires, in words.")
    requirement: dict[str, Any] = Field(description="The same for programs.")
    capacity: str | None = Field(description="What the cluster has, in words; null if no cluster was started yet.")
    reason: str = Field(description="Why it waits, or can never fit; empty if it fits.")
    suggestion: str = Field(description="What to change, if it can never fit.")
    blocked_by: list[str] = Field(description="Ids of the jobs that it would wait for.")
    largest_workers: int | None = Field(description="The number of such workers that the cluster can run at once.")


class JobCheck(BaseModel):
    """What the same request to `POST /v1/jobs` would run, and whether it can."""

    fits: Verdict = Field(description="The worst of its steps; `fits` if nothing is to run.")
    artifacts: list[str] = Field(
        description="References of the artifacts that it makes.", examples=[["tokens/67d5273bd9611bd1"]]
    )
    existing: list[str] = Field(description="Of these, those that exist: equal requests make equal artifacts.")
    job: str | None = Field(description="An equal job that is pending or running: the request would get that one.")
    steps: list[StepCheck] = Field(description="What is to run, inputs first; empty if all that it makes exists.")
    disk_bytes: int | None = Field(description="Bytes that it would write to the store; null if that is not known.")
    plan: TrainingPlan | None = Field(description="Of a training run: what it reads and takes, and what looks wrong.")
