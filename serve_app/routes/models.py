"""Language models, with architecture and hook points."""

from __future__ import annotations

from serve_app import artifact_requests
from serve_app.dependencies import Api
from serve_app.errors import DETAIL_CHARACTERS, ApiError
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.models import Model
from serve_app.schemas.requests import ModelRequest
from serve_app.security.redaction import redact

_FIGURES = ("architecture", "n_layers", "d_model", "vocab_size", "context_length", "parameters")


def _read(api: Api, id: str) -> Model:
    figures = {name: artifact_requests.row_of(api, "models", id).summary.get(name) for name in _FIGURES}
    artifact_requests.files_of(api, "models", id)
    hooks, reason = _hooks(api, id)
    return artifact_requests.artifact_detail(
        api, Model, "models", id, **figures, hooks=hooks, hooks_unknown=reason or None
    )


def _hooks(api: Api, id: str) -> tuple[list[str], str]:
    """The hook points of a model, and why there are none: a model that cannot be read has its details all the same."""
    try:
        summary = api.model_summaries.get(id)
    except ApiError as error:
        return [], redact(error.detail)[:DETAIL_CHARACTERS]
    return summary.hooks, summary.why


router = artifact_routes("models", ModelRequest, Model, _read)
