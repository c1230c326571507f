"""Checks every request before its route: host, origin, size, token or session, and scope. Denies by default; knows no route.

It is a plain ASGI layer, so that it covers new routes, WebSockets and paths that do not exist too.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.catalog import CatalogError
from serve_app.errors import ApiError, to_api_error
from serve_app.security.sessions import SAFE_METHODS, Sessions, check_same_origin, cookie_secret, is_own_origin
from serve_app.security.tokens import Principal, Tokens, TokensError
from serve_app.settings import ApiSettings, is_loopback
from serve_app.studio.files import ASSETS, is_page

PUBLIC = frozenset({"/docs", "/openapi.json", "/v1/health", "/v1/ready"})
PUBLIC_ASSETS = ("/docs/assets/", ASSETS)
SESSION = "/v1/session"  # POST signs in and needs nothing; DELETE signs out, which a session with the scope `read` can
# Queries that have a body, so that they are POST. They change nothing.
READ_POSTS = frozenset(
    {
        "/v1/text/tokens",
        "/v1/text/features",
        "/v1/text/contrast",
        "/v1/text/steer",
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/saes/plan",
        "/v1/jobs/check",
        "/api/activation/new",
        "/api/search-topk-by-token/",
        "/api/steer/",
        "/api/steer-chat/",
    }
)
# Pieces of uploads, the only bodies that are larger than a form: they are written to the disk as they come.
PIECES = re.compile(r"/v1/uploads/[0-9a-f]{16}/files/.+")
_PROTOCOL = "bearer."  # a browser's WebSocket cannot send an Authorization header: the token is one of its protocols
MAX_TARGET = 8192

_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """The ASGI layer. A request that passes has `scope["state"]["principal"]`, None on public paths, and
    `scope["state"]["check"]`, which a stream calls again later to learn whether its token is still valid.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings, tokens: Tokens, sessions: Sessions | None = None) -> None:
        self._app, self._tokens, self._sessions = app, tokens, sessions
        self._hosts, self._origins = settings.allowed_hosts(), frozenset(settings.origins)
        self._body_bytes, self._piece_bytes, self._most = settings.body_bytes, settings.piece_bytes, settings.requests
        self._requests = 0  # in progress
        self._threads = ThreadPoolExecutor(2, "raylens-auth")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request that it refuses; passes on all others."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._check_target(scope)
            self._check_host(headers)
            self._check_origin(scope, headers)
            self._check_size(scope, headers)
            self._check_load(scope)
            check = partial(self._authenticate, scope, headers)
            scope.setdefault("state", {}).update(principal=None if _public(scope) else await check(), check=check)
        except ApiError as error:
            await refuse(error, scope, receive, send)
            return
        self._requests += 1
        try:
            await self._app(scope, self._limited(scope, receive), _with_headers(scope, send))
        finally:
            self._requests -= 1

    def _check_load(self, scope: Scope) -> None:
        """Refuses before Serve's own queue is full, whose answer is no problem detail."""
        if self._requests >= self._most and not _public(scope):
            detail = (
                f"this replica works on {self._most} requests and streams already: try again after Retry-After seconds"
            )
            raise ApiError(503, "too_many_requests", detail, {"Retry-After": "2"})

    def _check_target(self, scope: Scope) -> None:
        raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
        query: bytes = scope.get("query_string", b"")
        if len(raw) + len(query) > MAX_TARGET:
            raise ApiError(414, "target_too_long", f"the path and query have more than {MAX_TARGET} bytes")
        if "\0" in scope["path"] or b"%00" in query or b"\0" in query:
            raise ApiError(400, "bad_request", "the path or query contains a NUL character: remove it")
        if any(part in (".", "..") for part in scope["path"].replace("\\", "/").split("/")):
            raise ApiError(404, "not_found", "a path must not have `.` or `..` segments")

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _without_port(hosts[0]) not in self._hosts:
            raise ApiError(
                421,
                "host_not_allowed",
                "the Host header names another server: call this one by its own address, or add the name to "
                "RAYLENS_API_HOSTS",
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Refuses web pages of other origins, whatever the method. Browsers send the origin of the page."""
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            reads = scope["type"] == "http" and scope["method"] in SAFE_METHODS and _public(scope)
            if origin is None and headers.get("sec-fetch-site") in ("cross-site", "same-site") and not reads:
                raise ApiError(403, "origin_not_allowed", "a web page of another site must not call this server")
            return
        if not is_own_origin(headers):
            raise ApiError(403, "origin_not_allowed", "RAYLENS_API_ORIGINS does not name the origin of this web page")

    def _most_bytes(self, scope: Scope) -> int:
        """Largest body of a request."""
        is_piece = scope["type"] == "http" and scope["method"] == "PATCH" and PIECES.fullmatch(scope["path"])
        return self._piece_bytes if is_piece else self._body_bytes

    def _check_size(self, scope: Scope, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise ApiError(400, "bad_request", "Content-Length must be a number")
        most = self._most_bytes(scope)
        if len(length) > 15 or int(length) > most:
            raise _too_large(most)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Limits a body without Content-Length."""
        received, most = 0, self._most_bytes(scope)

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > most:
                    # FastAPI answers 400 for any other error while it reads a body.
                    raise HTTPException(413, _too_large(most).detail, {"Connection": "close"})
            return message

        return counted

    async def _authenticate(self, scope: Scope, headers: Headers) -> Principal:
        text = _bearer(scope, headers)
        secret = cookie_secret(headers) if text is None and self._sessions is not None else None
        if secret is not None:
            check_same_origin(scope["type"], scope.get("method", "GET"), headers)
        loop = asyncio.get_running_loop()
        try:
            principal = await loop.run_in_executor(self._threads, self._verify, text, secret, is_local(scope))
        except TokensError:
            raise ApiError(
                503, "tokens_unusable", "the server's tokens cannot be read: `python -m serve_app token list` says why"
            ) from None
        except (CatalogError, SQLAlchemyError) as error:
            raise to_api_error(error) or error from None
        if principal is None:
            raise _not_authenticated(text, secret)
        path = scope["path"]
        reads = scope["type"] == "websocket" or scope["method"] in SAFE_METHODS or path in READ_POSTS or path == SESSION
        needed = "read" if reads else "write"
        if needed not in principal.scopes:
            challenge = f'Bearer realm="raylens", error="insufficient_scope", scope="{needed}"'
            raise ApiError(
                403, "insufficient_scope", f"this token lacks the scope `{needed}`", {"WWW-Authenticate": challenge}
            )
        return principal

    def _verify(self, text: str | None, secret: str | None, local_client: bool) -> Principal | None:
        if text is not None:
            return self._tokens.verify(text, local_client=local_client)
        return self._sessions.verify(secret) if secret is not None and self._sessions is not None else None


def _not_authenticated(text: str | None, secret: str | None) -> ApiError:
    challenge = {"WWW-Authenticate": 'Bearer realm="raylens"'}
    if secret is not None:
        return ApiError(401, "session_ended", "this session has ended: sign in again", challenge)
    detail = "this token is not valid: create one with `python -m serve_app token create NAME`"
    detail = detail if text is not None else "a token is required: `Authorization: Bearer TOKEN`"
    return ApiError(401, "not_authenticated", detail, challenge)


def _too_large(most: int) -> ApiError:
    return ApiError(413, "body_too_large", f"this body can have at most {most} bytes", {"Connection": "close"})


def _public(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    path: str = scope["path"]
    if scope["method"] not in SAFE_METHODS:
        return path == SESSION and scope["method"] == "POST"
    return path in PUBLIC or path.startswith(PUBLIC_ASSETS) or is_page(path)


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _bearer(scope: Scope, headers: Headers) -> str | None:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and text.strip():
        return text.strip()
    if key := headers.get("x-api-key", "").strip():  # as Neuronpedia's client sends it
        return key
    if scope["type"] == "websocket":
        offered: list[str] = scope.get("subprotocols", [])
        return next((p.removeprefix(_PROTOCOL) for p in offered if p.startswith(_PROTOCOL)), None)
    return None


def _with_headers(scope: Scope, send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def is_local(scope: Scope) -> bool:
    """False for a client on another machine. Serve can listen on more addresses than its settings name."""
    client = scope.get("client")
    return client is None or is_loopback(client[0])


async def refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request, or a WebSocket that was not accepted yet, with a problem."""
    if scope["type"] == "http":
        await error.response()(scope, receive, _with_headers(scope, send))
        return
    if "websocket.http.response" in scope.get("extensions", {}):
        await receive()
        response = error.response()
        start = {"type": "websocket.http.response.start", "status": error.status, "headers": response.raw_headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": response.body})
        return
    await receive()
    await send({"type": "websocket.close", "code": 1008, "reason": error.code})
