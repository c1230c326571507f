"""Language models, with architecture and hook points."""

from __future__ import annotations

from serve_app import artifacts
from serve_app.dependencies import Api
from serve_app.routes.artifacts import artifact_routes
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


router = artifact_routes("models", ModelRequest, Model, _read)
