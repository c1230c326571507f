"""Browsers that sign in: codes, cookies, what a cookie may authorise, and how a session ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx2
import pytest

from cluster.catalog import open_catalog
from serve_app.app import create_app
from serve_app.security import sessions
from serve_app.security.sessions import COOKIE, new_code
from serve_app.security.tokens import Tokens, digest
from tests.serve_app.conftest import Site, serving

PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def browser(site: Site) -> Iterator[httpx2.Client]:
    """A client that keeps cookies, as a browser does, and has no token."""
    with httpx2.Client(base_url=site.url, headers={**PAGE, "Origin": site.url}, timeout=30, trust_env=False) as client:
        yield client


def sign_in(browser: httpx2.Client, **body: str) -> httpx2.Response:
    return browser.post("/v1/session", json=body)


def test_a_code_signs_in_one_browser_once(site: Site, browser: httpx2.Client) -> None:
    code = new_code(site.catalog)
    answer = sign_in(browser, code=code)
    assert answer.status_code == 200, answer.text
    assert answer.json()["scopes"] == ["read", "write"]
    port = urlsplit(site.url).port
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}_{port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert browser.get("/v1/jobs").status_code == 200
    with httpx2.Client(base_url=site.url, headers=PAGE, trust_env=False) as other:
        again = sign_in(other, code=code)
        assert (again.status_code, again.json()["code"]) == (401, "code_not_valid")
        assert "serve_app sign-in" in again.json()["detail"]
        assert other.get("/v1/jobs").status_code == 401
    with site.catalog._read() as session:
        from cluster.catalog.session_tables import SessionRow

        stored = [row.sha256 for row in session.query(SessionRow)]
    assert digest(browser.cookies[f"{COOKIE}_{port}"]) in stored, "the catalog has hashes alone"


def test_codes_and_sessions_expire(site: Site, browser: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "CODE_S", -1.0)
    assert sign_in(browser, code=new_code(site.catalog)).json()["code"] == "code_not_valid"
    monkeypatch.undo()
    assert sign_in(browser, code=new_code(site.catalog)).status_code == 200
    now = time.time()
    monkeypatch.setattr(sessions, "time", SimpleNamespace(time=lambda: now + sessions.SESSION_S + 1))
    ended = browser.get("/v1/jobs")
    assert (ended.status_code, ended.json()["code"]) == (401, "session_ended")


@pytest.mark.parametrize("scope", ["read", "write"])
def test_a_token_signs_in_with_its_own_scopes_while_it_is_valid(site: Site, browser: httpx2.Client, scope: str) -> None:
    token, text = site.tokens.create(f"page {scope}", [scope])
    answer = sign_in(browser, token=text)
    assert answer.status_code == 200, answer.text
    assert text not in answer.text + answer.headers["set-cookie"]
    assert browser.get("/v1/session").json()["name"] == f"page {scope}"
    changed = browser.post("/v1/access-tokens", json={"name": f"by {scope}"})
    assert changed.status_code == (201 if scope == "write" else 403)
    site.tokens.revoke(token.id)
    assert browser.get("/v1/jobs").json()["code"] == "session_ended"
    assert sign_in(browser, token=text).status_code == 401


def test_bodies_that_do_not_sign_in(browser: httpx2.Client) -> None:
    for body in ({}, {"code": "a", "token": "b"}, {"code": ""}, {"code": "x" * 201}, {"code": 7}, {"user": "root"}):
        assert browser.post("/v1/session", json=body).status_code == 422, body
    for body in ({"code": "wrong"}, {"token": "rl_wrong"}):
        answer = browser.post("/v1/session", json=body)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)


def test_signing_out_revokes_the_session_not_only_the_cookie(site: Site, browser: httpx2.Client) -> None:
    _, text = site.tokens.create("leaves", ["read"])
    sign_in(browser, token=text)
    kept = dict(browser.cookies)
    assert browser.delete("/v1/session").status_code == 204, "a session with the scope read can sign out"
    assert not dict(browser.cookies)
    browser.cookies.update(kept)
    assert browser.get("/v1/jobs").json()["code"] == "session_ended"
    assert site.tokens.verify(text) is not None


def test_a_cookie_authorises_requests_of_our_own_pages_only(site: Site, browser: httpx2.Client) -> None:
    sign_in(browser, code=new_code(site.catalog))
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    own = {"Origin": site.url}
    page = {"X-RayLens-Page": "1"}

    def status(method: str, headers: dict[str, str]) -> int:
        with httpx2.Client(base_url=site.url, headers={"Cookie": cookie, **headers}, trust_env=False) as client:
            return client.request(method, "/v1/access-tokens", json={"name": "x y"}).status_code

    allowed = [("GET", PAGE), ("GET", {"Sec-Fetch-Site": "none"}), ("GET", page), ("GET", {**PAGE, **own}),
               ("POST", {**PAGE, **own}), ("POST", own)]  # fmt: skip
    for method, headers in allowed:
        assert status(method, headers) < 300, (method, headers)
    refused = [("GET", {}), ("GET", {"Sec-Fetch-Site": "same-site"}), ("GET", {"Sec-Fetch-Site": "cross-site"}),
               ("GET", {"Sec-Fetch-Site": "cross-site", **page}), ("GET", {"Sec-Fetch-Site": "x", **page}),
               ("GET", {"Origin": "http://evil.example", **page}), ("POST", {}), ("POST", PAGE), ("POST", page),
               ("POST", {"Sec-Fetch-Site": "none", **own}), ("POST", {"Sec-Fetch-Site": "same-site", **own}),
               ("POST", {"Origin": "null", **PAGE}), ("POST", {"Origin": "http://127.0.0.1:1", **PAGE}),
               ("DELETE", {"Sec-Fetch-Site": "cross-site", **own})]  # fmt: skip
    for method, headers in refused:
        assert status(method, headers) == 403, (method, headers)


def test_a_page_of_another_site_cannot_sign_a_browser_in(site: Site) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
    ):
        body = {"code": new_code(site.catalog)}
        assert site.anonymous.post("/v1/session", json=body, headers=headers).status_code == 403, headers


def test_a_token_is_stronger_than_a_cookie(site: Site, browser: httpx2.Client) -> None:
    sign_in(browser, code=new_code(site.catalog))
    wrong = browser.get("/v1/jobs", headers={"Authorization": "Bearer rl_wrong"})
    assert wrong.status_code == 401


def test_sessions_outlive_the_server(site: Site, browser: httpx2.Client) -> None:
    """Another server of the same home and catalog knows them: a replica, or the one after a restart."""
    sign_in(browser, code=new_code(site.catalog))
    (secret,) = browser.cookies.values()
    with (
        open_catalog(f"sqlite:///{site.home}/catalog.db") as catalog,
        serving(create_app(site.app.state.api.settings, catalog, site.store)) as url,
    ):
        cookie = {"Cookie": f"{COOKIE}_{urlsplit(url).port}={secret}", **PAGE}
        assert httpx2.get(f"{url}/v1/session", headers=cookie, trust_env=False).json()["name"] == "studio"


def test_tokens_over_http(site: Site) -> None:
    made = site.writer.post("/v1/access-tokens", json={"name": "over http", "scope": "read", "days": 2.5})
    assert made.status_code == 201, made.text
    token = made.json()
    assert token["valid"]
    assert Tokens(site.home).verify(token["token"]) is not None
    listed = site.reader.get("/v1/access-tokens").json()
    assert token["id"] in [one["id"] for one in listed]
    assert token["token"] not in site.reader.get("/v1/access-tokens").text
    assert site.reader.post("/v1/access-tokens", json={"name": "x"}).status_code == 403
    for wrong in ({"name": "a/b"}, {"name": "x", "days": 0}, {"name": "x", "scope": "admin"}, {}):
        assert site.writer.post("/v1/access-tokens", json=wrong).status_code == 422, wrong
    path = f"/v1/access-tokens/{token['id']}"
    assert site.reader.delete(path).status_code == 403
    assert site.writer.delete(path).status_code == 204
    assert site.writer.delete(path).status_code == 404
    assert Tokens(site.home).verify(token["token"]) is None
