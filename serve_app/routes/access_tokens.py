"""API tokens: list, create and revoke them."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path

from serve_app.dependencies import ApiDep
from serve_app.errors import ApiError, not_found
from serve_app.openapi.responses import problems
from serve_app.schemas.access import AccessToken, AccessTokenRequest, NewAccessToken
from serve_app.security.tokens import Token, Tokens, TokensError

router = APIRouter(prefix="/v1/access-tokens", tags=["access"])
TokenId = Annotated[str, Path(pattern=r"^[0-9a-f]{8}$", description="Id of the token.")]


@router.get("", summary="List API tokens")
def list_access_tokens(api: ApiDep) -> list[AccessToken]:
    """All of them, the newest first, also those that were revoked or have expired."""
    now = time.time()
    return [AccessToken(**_fields(token, now)) for token in reversed(Tokens(api.settings.home).all())]


@router.post("", status_code=201, summary="Create an API token")
def create_access_token(api: ApiDep, body: AccessTokenRequest) -> NewAccessToken:
    """Answers with the token itself, which is shown this once."""
    try:
        token, text = Tokens(api.settings.home).create(body.name, [body.scope], body.days and body.days * 86_400)
    except TokensError as error:
        raise ApiError(503, "tokens_unusable", str(error), {"Retry-After": "10"}) from None
    return NewAccessToken(**_fields(token, time.time()), token=text)


@router.delete("/{id}", status_code=204, summary="Revoke an API token", responses=problems(404))
def revoke_access_token(api: ApiDep, id: TokenId) -> None:
    """It stops working at once, and so do the browsers that signed in with it."""
    tokens = Tokens(api.settings.home)
    found = next((token for token in tokens.all() if token.id == id and token.valid(time.time())), None)
    if found is None:
        raise not_found(f"valid token {id}")
    tokens.revoke(id)


def _fields(token: Token, now: float) -> dict[str, object]:
    fields = token._asdict()
    del fields["sha256"]
    return {**fields, "valid": token.valid(now)}
