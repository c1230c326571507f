"""Evaluations of SAEs on held-out documents."""

from __future__ import annotations

from fastapi import Response

from serve_app.dependencies import ApiDep, PrincipalDep
from serve_app.idempotency import IdempotencyKey
from serve_app.job_requests import submit_job
from serve_app.openapi.responses import ACCEPTED
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.jobs import Accepted
from serve_app.schemas.requests import EvaluateRequest

router = artifact_routes("evaluations", "evaluation")


@router.post("", status_code=202, responses=ACCEPTED, summary="Evaluate an SAE")
def create_evaluation(
    api: ApiDep, principal: PrincipalDep, body: EvaluateRequest, response: Response, key: IdempotencyKey = None
) -> Accepted:
    """Explained variance, L0, alive latents, CE and KL scores on held-out documents."""
    return submit_job(api, principal, key, "evaluate", body.stage_fields(), body, response)
