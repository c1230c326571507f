"""Signing in and out in a browser."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from serve_app.dependencies import PrincipalDep
from serve_app.errors import ApiError
from serve_app.openapi.responses import problems
from serve_app.schemas.access import Session, SignIn
from serve_app.security.guard import is_local
from serve_app.security.sessions import Sessions, cookie_header, cookie_secret
from serve_app.security.tokens import TokensError

router = APIRouter(prefix="/v1/session", tags=["access"])


def sessions_of(request: Request) -> Sessions:
    """Dependency: the sessions of the application."""
    found: Sessions = request.app.state.sessions
    return found


SessionsDep = Annotated[Sessions, Depends(sessions_of)]


@router.post("", summary="Sign in", responses=problems(s401="The code or token is not valid."))
def sign_in(request: Request, response: Response, sessions: SessionsDep, body: SignIn) -> Session:
    """Sets an HttpOnly cookie that only this server's own pages can use. A code can be used once, within an hour."""
    try:
        if body.code is not None:
            secret, row = sessions.with_code(body.code)
        else:
            secret, row = sessions.with_token(body.token or "", is_local(request.scope))
    except TokensError:
        raise ApiError(503, "tokens_unusable", "the server's tokens cannot be read", {"Retry-After": "10"}) from None
    seconds = row.expires_at - row.created_at
    response.headers["Set-Cookie"] = cookie_header(request.headers, secret, seconds)
    return Session.model_validate(row)


@router.get("", summary="See who is signed in")
def get_session(request: Request, sessions: SessionsDep, principal: PrincipalDep) -> Session:
    """The name and scopes of the session or token that this request has."""
    secret = cookie_secret(request.headers)
    row = sessions.find(secret) if secret is not None and principal.id.startswith("session:") else None
    expires = None if row is None else datetime.fromtimestamp(row.expires_at, UTC)
    return Session(name=principal.name, scopes=sorted(principal.scopes), expires_at=expires)


@router.delete("", summary="Sign out", status_code=204)
def sign_out(request: Request, response: Response, sessions: SessionsDep) -> None:
    """Ends the session of the cookie, and removes the cookie. Tokens stay valid."""
    if (secret := cookie_secret(request.headers)) is not None:
        sessions.end(secret)
    response.headers["Set-Cookie"] = cookie_header(request.headers, "", 0)
