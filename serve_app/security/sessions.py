"""Browsers that are signed in: one-time codes, the cookie, and which requests a cookie may authorise.

A session is made from a one-time code, which `python -m cluster up` prints, or from an API token. Its secret is in an
HttpOnly, SameSite=Strict cookie. The catalog has the SHA-256 of it, so any replica knows it, also after a restart.
"""

from __future__ import annotations

import secrets
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from cluster.catalog import Catalog
from cluster.catalog.session_tables import SessionRow
from serve_app.errors import ApiError
from serve_app.security.tokens import SCOPES, Principal, Tokens, digest

SESSION_S = 14 * 86_400.0
CODE_S = 3_600.0
CODE_NAME = "studio"  # who submitted the jobs of a browser that used a code: `api:studio`
COOKIE = "raylens_session"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# A page's own script sends it. A page of another origin cannot, without a preflight that this server refuses.
PAGE_HEADER = "x-raylens-page"


def new_code(catalog: Catalog) -> str:
    """A code that signs in one browser with all scopes within an hour."""
    code, now = secrets.token_urlsafe(24), time.time()
    catalog.add_sign_in_code(digest(code), CODE_NAME, sorted(SCOPES), now, now + CODE_S)
    return code


class Sessions:
    """The sessions of one server. Each call reads or writes the catalog: not for an event loop. Raises CatalogError."""

    def __init__(self, catalog: Catalog, tokens: Tokens) -> None:
        self._catalog, self._tokens = catalog, tokens

    def with_code(self, code: str) -> tuple[str, SessionRow]:
        """Uses up a code: the secret of the new session, and its row. Raises ApiError (401)."""
        secret, now = secrets.token_urlsafe(32), time.time()
        row = self._catalog.use_sign_in_code(digest(code), digest(secret), now, now + SESSION_S)
        if row is None:
            detail = "this link was used already or is older than an hour: `python -m serve_app sign-in` prints another"
            raise ApiError(401, "code_not_valid", detail)
        return secret, row

    def with_token(self, text: str, local_client: bool) -> tuple[str, SessionRow]:
        """The secret of a new session with the scopes of an API token, and its row. Raises ApiError (401), TokensError."""
        principal = self._tokens.verify(text, local_client)
        if principal is None:
            detail = "this token is not valid: create one with `python -m serve_app token create NAME --scope write`"
            raise ApiError(401, "not_authenticated", detail)
        secret, now = secrets.token_urlsafe(32), time.time()
        expires = min(now + SESSION_S, self._tokens.expiry(principal.id) or float("inf"))
        scopes = sorted(principal.scopes)
        return secret, self._catalog.add_session(digest(secret), principal.name, scopes, principal.id, now, expires)

    def find(self, secret: str) -> SessionRow | None:
        """The session of a secret; None if it has ended, or if the token that it was made from was revoked."""
        row = self._catalog.session(digest(secret), time.time())
        if row is None or (row.token is not None and not self._tokens.is_valid(row.token)):
            return None
        return row

    def verify(self, secret: str) -> Principal | None:
        """The principal of a session; None if it has ended."""
        row = self.find(secret)
        if row is None:
            return None
        return Principal(f"session:{row.sha256[:16]}", row.name, frozenset(row.scopes))

    def end(self, secret: str) -> None:
        """Ends a session."""
        self._catalog.end_session(digest(secret))


def cookie_name(headers: Headers) -> str:
    """The cookie's name. Cookies do not know ports, and several servers can be on one machine: the name has the port."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isdigit() else COOKIE


def cookie_secret(headers: Headers) -> str | None:
    """The secret in the session cookie of a request; None if there is none."""
    try:
        found = SimpleCookie("; ".join(headers.getlist("cookie"))).get(cookie_name(headers))
    except CookieError:
        return None
    return found.value if found is not None and found.value else None


def cookie_header(headers: Headers, secret: str, seconds: float) -> str:
    """The Set-Cookie header for a secret; an empty one with 0 seconds removes the cookie."""
    secure = "; Secure" if headers.get("origin", "").startswith("https://") else ""
    return f"{cookie_name(headers)}={secret}; Path=/; Max-Age={int(seconds)}; HttpOnly; SameSite=Strict{secure}"


def check_same_origin(kind: str, method: str, headers: Headers) -> None:
    """Refuses a request that no page of this server has sent. A browser adds the cookie by itself. Raises ApiError (403).

    Browsers say in Sec-Fetch-Site where a request comes from (`none`: from the person, by a link or the address bar), but
    only to servers that they trust: HTTPS, or this machine. Without it, a change must have our Origin, and a read the
    header of our own pages.
    """
    site = headers.get("sec-fetch-site")
    safe = kind == "http" and method in SAFE_METHODS
    if site == "same-origin" or (site == "none" and safe):
        allowed = safe or is_own_origin(headers)
    else:
        allowed = site is None and (PAGE_HEADER in headers if safe else is_own_origin(headers))
    if not allowed:
        detail = "a session cookie is for this server's own pages only: send `Authorization: Bearer TOKEN` instead"
        raise ApiError(403, "origin_not_allowed", detail)


def is_own_origin(headers: Headers) -> bool:
    """Whether the Origin header names this server."""
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:
        return False
    return origin.scheme in ("http", "https") and origin.netloc == headers.get("host")
