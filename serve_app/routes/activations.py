"""Activation caches."""

from __future__ import annotations

from fastapi import Response

from serve_app.dependencies import TheApi, Who
from serve_app.idempotency import IdempotencyKey
from serve_app.job_requests import accept
from serve_app.openapi.responses import ACCEPTED
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.jobs import Accepted
from serve_app.schemas.requests import HarvestRequest

router = artifact_routes("activations", "activation cache")


@router.post("", status_code=202, responses=ACCEPTED, summary="Harvest activations")
def create_activations(
    api: TheApi, who: Who, body: HarvestRequest, response: Response, key: IdempotencyKey = None
) -> Accepted:
    """Writes the activations of hooks once; any number of training runs read them."""
    return accept(api, who, key, "harvest", body.science(), body, response)
