"""Every route with every kind of token; hosts, origins, paths and bodies that must not get through."""

from __future__ import annotations

import re
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.routing import iter_route_contexts
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serve_app.security.guard import PUBLIC, READ_POSTS, SESSION
from serve_app.studio.files import asset_names, is_page
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import MODEL, SampleArtifacts

SECRET = "outside-the-root-4711"
_VALUES = {
    "id": "0" * 16,
    "file_name": "x",
    "latent": "0",
    "name": "start.js",
    "rest": "x",
    "kind": "saes",
    "model": "0" * 16,
    "sae_id": "0" * 16,
    "source": "0" * 16,
    "index": "0",
}


def routes(app: Any) -> list[tuple[str, str]]:
    """(method, path) of every route that the application has, WebSockets and undocumented ones among them."""
    found, values = [], {**_VALUES, "asset_name": min(asset_names())}
    for context in iter_route_contexts(app.routes):
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: values[m[1]], context.path)
        path = path.replace("/access-tokens/" + "0" * 16, "/access-tokens/00000000")
        path = path.replace("/jobs/" + "0" * 16, "/jobs/train-0000000000")
        methods = getattr(context, "methods", None) or ("WEBSOCKET",)
        found += [(method, path) for method in methods]
    return sorted(set(found))


def test_routes_are_found(site: Site) -> None:
    documented = {
        (method.upper(), path)
        for path, operations in site.app.openapi()["paths"].items()
        for method in operations
    }  # fmt: skip
    found = routes(site.app)
    assert len(found) >= len(documented) + 5, "the document's own routes, two WebSockets and the pages are there too"
    assert ("WEBSOCKET", "/v1/events/ws") in found


@pytest.mark.parametrize("kind", ["none", "bad", "malformed", "revoked", "expired", "read", "write"])
def test_every_route_with_every_token(site: Site, kind: str) -> None:
    headers = _header(site, kind)
    for method, path in routes(site.app):
        public = path in PUBLIC or path.startswith(("/docs/assets/", "/assets/")) or is_page(path)
        status = _status(site, method, path, headers)
        if (method, path) == ("POST", SESSION):
            assert status == 422, "signing in needs no token, but a body"
            continue
        if public:
            assert status < 400, (method, path, status)
        elif kind in ("none", "bad", "malformed", "revoked", "expired"):
            assert status == 401, (method, path, status)
        else:
            reading = method in ("GET", "HEAD", "OPTIONS", "WEBSOCKET") or path in (*READ_POSTS, SESSION)
            refused = status == 403
            assert refused == (kind == "read" and not reading), (method, path, status)
            assert status != 401, (method, path)
            assert status < 500, (method, path)


def test_a_path_that_does_not_exist_wants_a_token_too(site: Site) -> None:
    for path in ("/v2/jobs", "/v1", "/metrics", "/docs/x", "/v1/health/x", "//v1/health"):
        assert site.anonymous.get(path).status_code == 401, path
    assert site.anonymous.post("/v1/health").status_code == 401


def test_a_token_is_void_as_soon_as_it_is_revoked(site: Site) -> None:
    token, text = site.tokens.create("short", ["read"])
    headers = {"Authorization": f"Bearer {text}"}
    assert site.anonymous.get("/v1/jobs", headers=headers).status_code == 200
    site.tokens.revoke(token.id)
    assert site.anonymous.get("/v1/jobs", headers=headers).status_code == 401
    stored = (site.home / "api_tokens.json").read_text()
    assert text not in stored
    assert text.removeprefix("rl_") not in stored
    assert (site.home / "api_tokens.json").stat().st_mode & 0o777 == 0o600


def test_tokens_that_others_can_read_are_not_used(site: Site) -> None:
    path = site.home / "api_tokens.json"
    try:
        path.chmod(0o644)
        assert site.reader.get("/v1/jobs").json()["code"] == "tokens_unusable"
    finally:
        path.chmod(0o600)
    assert site.reader.get("/v1/jobs").status_code == 200


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest.mark.parametrize("method", METHODS)
def test_hosts_and_origins_on_every_method(site: Site, method: str) -> None:
    port = urlsplit(site.url).port
    own = f"127.0.0.1:{port}"
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "[::2]",
        "",
        "a b",
    ):
        for path in ("/v1/jobs", "/v1/health", "/docs"):
            assert site.writer.request(method, path, headers={"Host": host}).status_code == 421, (host, path)
    for origin in ("http://evil.example", "null", f"https://{own}.evil", f"http://127.0.0.1:{port + 1}", "file://", "x",
                   f"http://localhost:{port}", "http://[", f"ftp://{own}"):  # fmt: skip
        for path in ("/v1/jobs", "/v1/health"):
            response = site.writer.request(method, path, headers={"Origin": origin})
            assert response.status_code == 403, (origin, path)
            assert "access-control-allow-origin" not in response.headers
    same = site.writer.request(method, "/v1/jobs", headers={"Origin": site.url, "Host": own})
    assert same.status_code not in (403, 421)
    cross = site.writer.request(method, "/v1/jobs", headers={"Sec-Fetch-Site": "cross-site"})
    assert cross.status_code == 403


def test_hosts_and_origins_of_websockets(site: Site) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        token = site.writer.headers["Authorization"]
        assert _websocket(site, "/v1/events/ws", {"Authorization": token, **headers}) in (403, 421)


def traversals() -> list[str]:
    """Ways to say `../../secret` and absolute paths, percent-encoded once, twice, or not."""
    plain = ["../secret.txt", "..\\secret.txt", "/etc/passwd", "....//secret.txt", "..;/secret.txt", "./../secret.txt",
             "secret.txt\0.json", "~root/x", "file:///etc/passwd", "C:\\x", "//etc/passwd", "a/../../secret.txt"]  # fmt: skip
    once = [_encode(p) for p in plain]
    return [*plain, *once, *map(_encode_percent, once), "%c0%ae%c0%ae/secret.txt", "%2e%2e%5csecret.txt", "..%00/secret.txt",
            "%252e%252e%252fsecret.txt", "%uff0e%uff0e/secret.txt", "．．/secret.txt"]  # fmt: skip


def test_traversal_in_paths(site: Site, samples: SampleArtifacts) -> None:
    (site.home / "secret.txt").write_text(SECRET)
    for how in traversals():
        for prefix in (
            f"/v1/saes/{samples.sae.id}/files/",
            f"/v1/saes/{samples.sae.id}/files/../",
            "/v1/saes/",
            "/v1/datasets/",
            "/v1/jobs/",
            f"/v1/features/{samples.features.id}/latents/",
            "/docs/assets/",
            "/",
        ):
            status, body = _raw(site, f"{prefix}{how}")
            assert 400 <= status < 500, (prefix, how, status)
            assert SECRET.encode() not in body
            assert b"root:" not in body


def test_traversal_in_sources(site: Site) -> None:
    data = site.home / "data"
    (site.home / "secret.txt").write_text(SECRET)
    (data / "fine").mkdir(exist_ok=True)
    (data / "fine" / "a.txt").write_text("a document\n")
    for link, target in (("link.txt", site.home / "secret.txt"), ("folder", site.home), ("loop", data / "loop")):
        if not (data / link).is_symlink():
            (data / link).symlink_to(target)
    (data / "mixed").mkdir(exist_ok=True)
    if not (data / "mixed" / "b.txt").is_symlink():
        (data / "mixed" / "b.txt").symlink_to(site.home / "secret.txt")
    wrong = [*traversals(), "link.txt", "folder", "folder/secret.txt", "mixed", "loop", "", ".", "fine/../../secret.txt",
             str(site.home / "secret.txt"), str(data / "fine")]  # fmt: skip
    before = len(site.catalog.jobs(limit=1000))
    for path in wrong:
        source = {"type": "local", "path": path}
        nested = {"stage": "tokenize", "dataset": {"stage": "download", "what": "dataset", "source": source}}
        for where, body in (
            ("/v1/datasets", {"source": source}),
            ("/v1/models", {"source": source}),
            ("/v1/jobs", {"config": {"stage": "download", "what": "dataset", "source": source}}),
            ("/v1/jobs", {"config": {**nested, "model": str(MODEL)}}),
            ("/v1/jobs", {"config": {"stage": "pipeline", "stages": [{**nested, "model": str(MODEL)}]}}),
        ):
            response = site.writer.post(where, json=body)
            assert response.status_code == 422, (where, path, response.text)
            assert SECRET not in response.text
            assert str(site.home) not in response.text
    assert len(site.catalog.jobs(limit=1000)) == before
    fine = site.writer.post("/v1/datasets", json={"source": {"type": "local", "path": "fine/a.txt"}})
    assert fine.status_code == 202, fine.text
    shown = site.reader.get(fine.headers["location"]).json()["config"]["source"]["path"]
    assert shown == "fine/a.txt"


def test_bodies_that_are_too_large_or_malformed(site: Site) -> None:
    limit = site.app.state.api.settings.body_bytes
    json_type = {"Content-Type": "application/json"}
    big = b'{"text": "' + b"x" * limit + b'"}'
    assert site.writer.post("/v1/jobs", content=big, headers=json_type).status_code == 413

    def chunks() -> Any:
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    assert site.writer.post("/v1/jobs", content=chunks(), headers=json_type).status_code == 413
    for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{]", b"[" * 100_000, b'{"a":' * 50_000, b"1e999",
                 b'{"config": {"stage": "train"}}', b'{"source": {"type": "hub", "repo": "\\ud800"}}',
                 b'{"source": {"type": "hub", "repo": "a\\u0000b"}}', b'{"source": NaN}', b'{"notes": "' + b"n" * 20_000 + b'"}',
                 b'{"source": {"type": "package", "package": "../x", "files": []}}', b"x=1"):  # fmt: skip
        for path in ("/v1/jobs", "/v1/datasets", "/v1/saes", "/v1/text/tokens"):
            response = site.writer.post(path, content=body, headers=json_type)
            assert 400 <= response.status_code < 500, (path, body[:40], response.status_code)
            assert response.headers["content-type"] == "application/problem+json"
    form = site.writer.post(
        "/v1/datasets", content=b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert form.status_code == 422
    assert site.writer.get("/v1/jobs", params={"name": "x" * 9000}).status_code == 414
    for target in ("/v1/jobs?name=%00", "/v1/jobs/%00", "/v1/jobs?limit=99999999999999999999", "/v1/events?after=1e3",
                   f"/v1/events?after={2**63}", "/v1/jobs?state=GONE"):  # fmt: skip
        assert 400 <= _raw(site, target)[0] < 500, target


def test_headers_of_every_answer(site: Site) -> None:
    for path in ("/v1/jobs", "/docs", "/openapi.json", "/v1/nothing", "/v1/health"):
        headers = site.reader.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def _header(site: Site, kind: str) -> dict[str, str]:
    if kind == "none":
        return {}
    if kind == "malformed":
        return {"Authorization": "Basic " + "x" * 20}
    if kind == "bad":
        return {"Authorization": "Bearer rl_" + "x" * 43}
    client = {"read": site.reader, "write": site.writer}.get(kind)
    if client is not None:
        return {"Authorization": client.headers["Authorization"]}
    token, text = site.tokens.create(kind, ["write"], 0.001 if kind == "expired" else None)
    if kind == "revoked":
        site.tokens.revoke(token.id)
    return {"Authorization": f"Bearer {text}"}


def _status(site: Site, method: str, path: str, headers: dict[str, str]) -> int:
    if method == "WEBSOCKET":
        return _websocket(site, path, headers)
    with site.anonymous.stream(method, path, headers=headers) as response:  # an event stream does not end
        return response.status_code


def _websocket(site: Site, path: str, headers: dict[str, str]) -> int:
    url = site.url.replace("http://", "ws://") + path
    host = headers.get("Host")
    try:
        if host is not None:
            return _raw(site, path, {**headers, "Upgrade": "websocket", "Connection": "Upgrade",
                                     "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x" * 22 + "=="})[0]  # fmt: skip
        with connect(url, additional_headers=headers, proxy=None):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def _raw(site: Site, target: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """A request whose target goes over the wire as it is: clients would tidy it up."""
    parts = urlsplit(site.url)
    lines = {
        "Host": parts.netloc,
        "Authorization": site.writer.headers["Authorization"],
        "Connection": "close",
        **(headers or {}),
    }
    text = f"GET {target} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(text.encode("utf-8", "surrogateescape"))
        data = b""
        while part := connection.recv(65536):
            data += part
            if headers and b"\r\n\r\n" in data:
                break
    return int(data.split(b" ", 2)[1]), data


def _encode(path: str) -> str:
    return "".join(f"%{byte:02X}" for byte in path.encode())


def _encode_percent(path: str) -> str:
    return path.replace("%", "%25")
