"""Language models: registered from the hub, a package or a folder; shown with architecture and hook points."""

from __future__ import annotations

from fastapi import Response

from serve_app import artifacts
from serve_app.dependencies import Api, ApiDep, PrincipalDep
from serve_app.idempotency import IdempotencyKey
from serve_app.job_requests import submit_job
from serve_app.openapi.responses import ACCEPTED
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.jobs import Accepted
from serve_app.schemas.models import Model
from serve_app.schemas.requests import ModelRequest

_FIGURES = ("architecture", "n_layers", "d_model", "vocab_size", "context_length", "parameters")


def _read(api: Api, id: str) -> Model:
    summary = artifacts.row_of(api, "models", id).summary
    found = api.model_summaries.get(id)
    return artifacts.artifact_detail(
        api,
        Model,
        "models",
        id,
        **{name: summary.get(name) for name in _FIGURES},
        hooks=found.hooks,
        hooks_unknown=found.why or None,
    )


router = artifact_routes("models", "model", Model, _read)


@router.post("", status_code=202, responses=ACCEPTED, summary="Register a language model")
def create_model(
    api: ApiDep, principal: PrincipalDep, body: ModelRequest, response: Response, key: IdempotencyKey = None
) -> Accepted:
    """Brings it into the store as safetensors, config and tokenizer. No code of the model's own is ever run."""
    return submit_job(api, principal, key, "download", body.stage_fields(), body, response)
