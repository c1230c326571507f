"""From a request to jobs: the same functions as the command line's, without what a client must not do."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from configs.requirements import Capacity, Fit, Requirement, fit
from configs.resource_profiles import load_profile, requirement_for
from configs.train import TrainConfig
from jobs.life.planner import Step, resolve_auto
from jobs.life.submit import Submitted, capacity_of, environment_for, has_gpu, submit
from jobs.preflight import estimate
from serve_app.dependencies import Api
from serve_app.errors import ApiError
from serve_app.idempotency import submit_once
from serve_app.label_endpoints import check_label_endpoints
from serve_app.local_paths import with_absolute_paths
from serve_app.schemas.cluster import ClusterNode
from serve_app.schemas.common import SubmitRequest
from serve_app.schemas.jobs import Accepted, JobSummary
from serve_app.security.tokens import Principal


def submit_job(api: Api, principal: Principal, key: str | None, body: SubmitRequest, response: Response) -> Accepted:
    """Submits the job that a request describes, and answers 202 with it. Blocks: it reads sources, store and catalog.

    Raises ApiError, and what `submit` raises: ValueError for a config, source or input that cannot be used.
    """
    submitted: list[Submitted] = []

    def submit_now() -> str:
        submitted.append(_submit(api, principal, body))
        return submitted[0].job_id

    request = [type(body).__name__, body.model_dump(mode="json")]
    job_id, replayed = submit_once(api.catalog, principal.id, key, request, submit_now)
    row = api.catalog.job(job_id)
    response.status_code = 202
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return Accepted(
        job=JobSummary.from_row(row),
        created=bool(submitted) and submitted[0].created,
        artifacts=list(row.outputs),
        jobs=submitted[0].jobs if submitted else [job_id],
    )


def _submit(api: Api, principal: Principal, body: SubmitRequest) -> Submitted:
    capacity = capacity_of(api.catalog)
    config = body.stage_config()
    check_label_endpoints(config, api.settings.label_endpoints)

    def check(step: Step, requirement: Requirement) -> None:
        if capacity is not None:
            _check_fits(step, requirement, capacity)

    return submit(
        api.catalog,
        api.store,
        with_absolute_paths(config, api.settings.data_roots),
        profile=body.profile,
        wait_s=body.wait_s,
        created_by=f"api:{principal.name}",
        environment=environment_for(api.catalog, api.store),
        project=body.project,
        name=body.name,
        tags=body.tags,
        notes=body.notes,
        check_step=check,
    )


def _check_fits(step: Step, requirement: Requirement, capacity: Capacity) -> None:
    """Raises ApiError (409) for a job that this cluster can never run."""
    verdict = fit(requirement, capacity)
    if verdict.fit is not Fit.NEVER:
        return
    raise ApiError(
        409,
        "cannot_fit",
        f"{step.stage} can never run on this cluster: it {verdict.reason}. {verdict.suggestion}".strip(),
        stage=step.stage,
        requirement=requirement_json(requirement),
        capacity=[ClusterNode.from_node(node).model_dump() for node in capacity.nodes],
        largest_workers=verdict.largest_workers,
        largest_worker=None if verdict.largest_worker is None else requirement_json(verdict.largest_worker),
    )


def plan_training(api: Api, body: SubmitRequest) -> dict[str, Any]:
    """The plan of a training run that a request describes. Raises ValueError for a config that cannot run."""
    profile = load_profile(body.profile, has_gpu(api.catalog))
    config = resolve_auto(body.stage_config(), profile.device)
    assert isinstance(config, TrainConfig), "the route takes requests of `train` alone"
    return estimate(config, api.store, requirement_for(config, profile))


def requirement_json(requirement: Requirement) -> dict[str, Any]:
    """A requirement as JSON."""
    return requirement.model_dump(mode="json", exclude={"device", "threads"})
