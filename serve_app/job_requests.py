"""From a request to jobs: the same functions as the command line's, with what a client may not do kept out."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from configs.base import StageConfig
from configs.load import parse_config
from configs.profiles import load_profile, requirement_for
from configs.requirements import Fit, Requirement, fit
from jobs.life.planner import Planner, Step, is_done, missing_steps, resolve_auto
from jobs.life.submit import Submitted, environment_for, has_gpu, offer_of, submit
from serve_app.dependencies import Api
from serve_app.errors import ApiError
from serve_app.idempotency import submit_once
from serve_app.local_paths import with_absolute_paths
from serve_app.schemas.cluster import ClusterNode
from serve_app.schemas.common import SubmitRequest
from serve_app.schemas.jobs import Accepted, JobSummary
from serve_app.security.tokens import Principal


def submit_job(
    api: Api,
    principal: Principal,
    key: str | None,
    stage: str,
    raw: dict[str, Any],
    asked: SubmitRequest,
    response: Response,
) -> Accepted:
    """Asks for a job of a stage and answers 202 with it. Blocks: it looks at sources, the store and the catalog.

    Raises ApiError, and what `submit` raises: ValueError for a config, source or input that cannot be used.
    """
    done: list[Submitted] = []

    def ask() -> str:
        config = parse_config(stage, with_absolute_paths(raw, api.settings.data_roots), "request")
        done.append(_submit(api, principal, config, asked))
        return done[0].job_id

    request = [stage, raw, asked.model_dump(mode="json", include=set(SubmitRequest.model_fields))]
    job_id, replayed = submit_once(api.records, principal.id, key, request, ask)
    row = api.records.job(job_id)
    response.status_code = 202
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return Accepted(
        job=JobSummary.from_row(row),
        created=bool(done) and done[0].created,
        artifacts=list(row.outputs),
        jobs=done[0].jobs if done else [job_id],
    )


def _submit(api: Api, principal: Principal, config: StageConfig, asked: SubmitRequest) -> Submitted:
    planner = Planner()  # it remembers: sources are looked at once
    _check_fits(api, config, asked.profile, planner)
    return submit(
        api.records,
        api.store,
        config,
        profile=asked.profile,
        wait_s=asked.wait_s,
        created_by=f"api:{principal.name}",
        environment=environment_for(api.records, api.store),
        project=asked.project,
        name=asked.name,
        tags=asked.tags,
        notes=asked.notes,
        planner=planner,
    )


def _check_fits(api: Api, config: StageConfig, profile: str, planner: Planner) -> None:
    """Raises ApiError (409) for a request that this cluster can never meet, before anything is recorded."""
    offer = offer_of(api.records)
    if offer is None:
        return
    chosen = load_profile(profile, has_gpu(api.records))
    steps = planner.plan(resolve_auto(config, chosen.device))

    def done(step: Step) -> bool:
        return is_done(api.store, step)

    for step in reversed(missing_steps(steps, done)):  # what was asked for speaks first
        need = requirement_for(step.config, chosen)
        verdict = fit(need, offer)
        if verdict.fit is Fit.NEVER:
            raise ApiError(
                409,
                "cannot_fit",
                f"{step.stage} can never run on this cluster: it {verdict.reason}. {verdict.advice}".strip(),
                stage=step.stage,
                need=requirement_json(need),
                offer=[ClusterNode.from_node(node).model_dump() for node in offer.nodes],
                largest_workers=verdict.largest_workers,
                largest_worker=None if verdict.largest_worker is None else requirement_json(verdict.largest_worker),
            )


def requirement_json(need: Requirement) -> dict[str, Any]:
    """A requirement as JSON."""
    return need.model_dump(mode="json", exclude={"device", "threads"})
