"""Activation caches."""

from __future__ import annotations

from fastapi import Response

from serve_app.dependencies import ApiDep, PrincipalDep
from serve_app.idempotency import IdempotencyKey
from serve_app.job_requests import submit_job
from serve_app.openapi.responses import ACCEPTED
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.jobs import Accepted
from serve_app.schemas.requests import HarvestRequest

router = artifact_routes("activations", "activations")


@router.post("", status_code=202, responses=ACCEPTED, summary="Harvest activations")
def create_activations(
    api: ApiDep, principal: PrincipalDep, body: HarvestRequest, response: Response, key: IdempotencyKey = None
) -> Accepted:
    """Writes the activations of hooks once; any number of training runs read them."""
    return submit_job(api, principal, key, "harvest", body.stage_fields(), body, response)
