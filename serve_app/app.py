"""The application: routes, errors, guard and OpenAPI document. The same under Serve and under uvicorn."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from cluster.catalog import Catalog
from cluster.store import Store
from configs.stages import ARTIFACT_KINDS
from serve_app import errors
from serve_app.dependencies import Api, InteractiveModels
from serve_app.errors import ApiError
from serve_app.language_models.summaries import ModelSummaries
from serve_app.openapi.responses import COMMON_PROBLEMS
from serve_app.routes import (
    about,
    access_tokens,
    all_artifacts,
    cluster,
    coactivation_graph,
    datasets,
    documentation,
    events,
    feature_annotations,
    feature_lists,
    feature_relations,
    feature_search,
    features,
    jobs,
    labels,
    logs,
    models,
    near_misses,
    neuronpedia,
    openai,
    saes,
    session,
    steering,
    studio,
    system,
    text_queries,
    tokens,
    training,
    uploads,
)
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.common import Problem
from serve_app.schemas.jobs import Event
from serve_app.security.guard import PUBLIC, READ_POSTS, SESSION, Guard
from serve_app.security.sessions import COOKIE, Sessions
from serve_app.security.tokens import Tokens
from serve_app.settings import ApiSettings
from serve_app.streaming.events import EventPoller
from serve_app.studio.files import StaticFile, built_files

# Kinds with more routes than every kind has.
KIND_ROUTERS = {
    "datasets": datasets, "models": models, "tokens": tokens, "saes": saes, "features": features, "labels": labels,
}  # fmt: skip
ROUTERS = (
    feature_annotations, feature_lists, feature_relations, feature_search, coactivation_graph, near_misses, all_artifacts,
    uploads, jobs, training, logs, events, cluster, text_queries, steering, openai, neuronpedia, session, access_tokens,
    about, system,
)  # fmt: skip


class NoLanguageModels:
    """A server without language models: every question is answered with 503."""

    async def __call__(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        """See InteractiveModels."""
        raise ApiError(503, "no_language_model", "this server has no interactive language model", {"Retry-After": "60"})

    async def steer(self, key: str, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """See InteractiveModels."""
        yield await self(key, request)


NO_LANGUAGE_MODELS = NoLanguageModels()


def create_app(
    settings: ApiSettings, catalog: Catalog, store: Store, models: InteractiveModels = NO_LANGUAGE_MODELS
) -> FastAPI:
    """An application on a catalog and a store. `models` are the interactive language models."""
    app = routes_only()
    tokens = Tokens(settings.home, cluster_token=settings.loopback)
    sessions = Sessions(catalog, tokens)
    app.state.api = Api(
        settings=settings,
        catalog=catalog,
        store=store,
        event_poller=EventPoller(catalog, settings.streams),
        model_summaries=ModelSummaries(store),
        interactive_models=models,
    )
    app.state.sessions = sessions
    app.add_middleware(Guard, settings=settings, tokens=tokens, sessions=sessions)
    built_files()
    document = json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()
    app.state.document = StaticFile.of(document, "application/json")
    return app


def routes_only() -> FastAPI:
    """The application without what it works on: its routes, errors and OpenAPI document."""
    from serve_app.openapi import description

    app = FastAPI(
        title="RayLens",
        version=description.API_VERSION,
        summary="From a language model and a text to features that a person can read.",
        description=description.DESCRIPTION,
        openapi_tags=description.tags(),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=COMMON_PROBLEMS,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    errors.install(app)
    for kind in ARTIFACT_KINDS:
        app.include_router(KIND_ROUTERS[kind].router if kind in KIND_ROUTERS else artifact_routes(kind))
    for module in ROUTERS:
        app.include_router(module.router)
    for pages in (documentation, studio):
        app.include_router(pages.router, include_in_schema=False)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The document, with schemas of problems and events, and the scope that each route requires."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        parts = document.setdefault("components", {})
        _, extra = models_json_schema(
            [(Problem, "serialization"), (Event, "serialization")], ref_template="#/components/schemas/{model}"
        )
        parts.setdefault("schemas", {}).update(
            {name: body for name, body in extra["$defs"].items() if name not in parts["schemas"]}
        )
        cookie = {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "The session of a browser that has signed in, for this server's own pages.",
        }
        parts["securitySchemes"] = {
            "cookie": cookie,
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token: `python -m serve_app token create`.",
            },
        }
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _add_security(path, method, operation)
        app.openapi_schema = document
    return app.openapi_schema


def _add_security(path: str, method: str, operation: dict[str, Any]) -> None:
    if path in PUBLIC:
        operation["security"] = []
        for status in ("401", "403", "422", *(() if path == "/v1/ready" else ("503",))):
            operation["responses"].pop(status, None)
        return
    if (method, path) == ("post", SESSION):
        operation["security"] = []
        return
    operation["security"] = [{"bearer": []}, {"cookie": []}]
    scope = "read" if method == "get" or path in READ_POSTS or path == SESSION else "write"
    operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
