"""What the routes work with: the catalog, the store, the settings, and who asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from cluster.records import Records
from cluster.store import Store
from serve_app.language_models.summaries import ModelSummaries
from serve_app.security.tokens import Principal
from serve_app.settings import Settings
from serve_app.streaming.events import Pulse

# Asks the interactive language model: (model id, request) to answer. Raises ApiError.
Ask = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
# Raises ApiError once the token of a request is no longer valid.
Check = Callable[[], Awaitable[Principal]]


@dataclass(frozen=True)
class Api:
    """One application's own things. Threads share it."""

    settings: Settings
    records: Records
    store: Store
    pulse: Pulse
    model_summaries: ModelSummaries
    ask: Ask


def api_of(connection: HTTPConnection) -> Api:
    """Dependency: the application's Api."""
    found: Api = connection.app.state.api
    return found


def principal_of(connection: HTTPConnection) -> Principal:
    """Dependency: who sent the request. Only paths that the guard authenticates have one."""
    principal: Principal = connection.scope["state"]["principal"]
    assert principal is not None
    return principal


def check_of(connection: HTTPConnection) -> Check:
    """Dependency: asks again whether the token is still valid."""
    check: Check = connection.scope["state"]["check"]
    return check


TheApi = Annotated[Api, Depends(api_of)]
StillValid = Annotated[Check, Depends(check_of)]
Who = Annotated[Principal, Depends(principal_of)]
