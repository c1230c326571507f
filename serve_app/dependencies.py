"""Dependencies of the routes: the catalog, the store, the settings, and the principal of the request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from cluster.catalog import Catalog
from cluster.store import Store
from serve_app.language_models.summaries import ModelSummaries
from serve_app.security.tokens import Principal
from serve_app.settings import ApiSettings
from serve_app.streaming.events import EventPoller

# Raises ApiError when the token of a request is no longer valid.
TokenCheck = Callable[[], Awaitable[Principal]]


class InteractiveModels(Protocol):
    """The interactive language models. `key` is `ID:DTYPE` of a model. Raises ApiError."""

    async def __call__(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question about a text."""

    def steer(self, key: str, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """What a steered model says, as it says it. Closing the generator ends it."""


@dataclass(frozen=True)
class Api:
    """The parts of one application. Threads share it."""

    settings: ApiSettings
    catalog: Catalog
    store: Store
    event_poller: EventPoller
    model_summaries: ModelSummaries
    interactive_models: InteractiveModels


def api_of(connection: HTTPConnection) -> Api:
    """Dependency: the application's Api."""
    found: Api = connection.app.state.api
    return found


def principal_of(connection: HTTPConnection) -> Principal:
    """Dependency: who sent the request. Only paths that the guard authenticates have one."""
    principal: Principal = connection.scope["state"]["principal"]
    assert principal is not None
    return principal


def token_check_of(connection: HTTPConnection) -> TokenCheck:
    """Dependency: checks again whether the token is valid."""
    check: TokenCheck = connection.scope["state"]["check"]
    return check


ApiDep = Annotated[Api, Depends(api_of)]
TokenCheckDep = Annotated[TokenCheck, Depends(token_check_of)]
PrincipalDep = Annotated[Principal, Depends(principal_of)]
