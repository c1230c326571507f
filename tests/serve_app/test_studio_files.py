"""The built web pages as the server gives them: paths, policy, caching, compression; and what they are built from."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

import serve_app.studio
from serve_app.studio.files import PAGES, asset_names
from tests.serve_app.conftest import Site

STUDIO = Path(serve_app.studio.__file__).parent
FIRST_PAGE_BYTES = 300_000


@pytest.mark.parametrize("path", ["/", "/sign-in", "/jobs", "/jobs/train-0123456789", "/settings", "/jobs/a/b/c"])
def test_each_page_is_the_same_document_and_needs_no_token(site: Site, path: str) -> None:
    answer = site.anonymous.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == (STUDIO / "dist" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?://", answer.text)
    assert site.anonymous.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_other_paths_are_no_pages(site: Site) -> None:
    for path in ("/job", "/jobsx", "/v1", "/index.html", "/assets", "/dist/index.html"):
        assert site.anonymous.get(path).status_code == 401, path
    for path in ("/assets/none.js", "/assets/..%2findex.html", "/assets/index.html"):
        assert site.anonymous.get(path).status_code == 404, path


def test_assets_are_kept_for_ever_and_compressed(site: Site) -> None:
    for name in asset_names():
        plain = site.anonymous.get(f"/assets/{name}", headers={"Accept-Encoding": "identity"})
        assert plain.content == (STUDIO / "dist" / "assets" / name).read_bytes()
        hashed = re.search(r"-[\w-]{8}\.\w+$", name) is not None
        assert ("immutable" in plain.headers["cache-control"]) == hashed, name
        assert hashed or name == "licenses.json"
        if len(plain.content) > 4096:
            with site.anonymous.stream("GET", f"/assets/{name}", headers={"Accept-Encoding": "gzip"}) as packed:
                assert packed.headers["content-encoding"] == "gzip"
                assert packed.headers["vary"] == "Accept-Encoding"
                assert gzip.decompress(b"".join(packed.iter_raw())) == plain.content


def test_the_first_page_is_small() -> None:
    """The scripts of the document, all that they import at once, and the page with the most code of its own."""
    assets = STUDIO / "dist" / "assets"
    sizes = {
        name: len(gzip.compress((assets / name).read_bytes(), 9)) for name in asset_names() if name.endswith(".js")
    }

    def needed(name: str) -> set[str]:
        text = (assets / name).read_text(encoding="utf-8")
        found = set(re.findall(r'(?:from|import)\s*"\./([\w.-]+\.js)"', text))
        return {name}.union(*(needed(one) for one in found - {name}))

    entries = re.findall(r'src="/assets/([\w.-]+\.js)"', (STUDIO / "dist" / "index.html").read_text(encoding="utf-8"))
    assert [name.partition("-")[0] for name in entries] == ["early", "index"], "what the page needs is asked for first"
    assert needed(entries[0]) == {entries[0]}, "it waits for no library"
    for name in sizes:
        assert sum(sizes[one] for one in set().union(*map(needed, entries), needed(name))) <= FIRST_PAGE_BYTES, name


def test_the_server_knows_the_paths_that_the_application_routes() -> None:
    routes = (STUDIO / "src" / "app" / "pageFiles.ts").read_text(encoding="utf-8")
    parts = {path[1:].split("/")[0] for path in re.findall(r'path: "(/[^"]*)"', routes)}
    assert parts | {"sign-in"} == PAGES


def test_every_library_in_the_pages_has_a_licence() -> None:
    bundled = json.loads((STUDIO / "dist" / "assets" / "licenses.json").read_text(encoding="utf-8"))
    assert {"react", "react-dom", "uplot", "@tanstack/react-query"} - {one["name"] for one in bundled} <= {"uplot"}
    assert {one["identifier"] for one in bundled} <= {"MIT", "ISC", "Apache-2.0", "BSD-3-Clause", "0BSD", "Unlicense"}


def test_the_document_of_the_api_is_compressed(site: Site) -> None:
    answer = site.anonymous.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["openapi"].startswith("3.1")
    assert site.anonymous.get("/openapi.json", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_versions_and_the_demo_over_http(site: Site) -> None:
    about = site.reader.get("/v1/about").json()
    assert "fastapi" in [library["name"].lower() for library in about["libraries"]]
    assert all(library["license"] for library in about["libraries"])
    (demo,) = site.reader.get("/v1/presets").json()
    assert [stage["stage"] for stage in demo["config"]["stages"]][-1] == "report"
    listed = site.reader.get("/v1/artifacts", params={"limit": 3}).json()
    assert len(listed["items"]) == 3
    again = site.reader.get("/v1/artifacts", params={"limit": 3, "cursor": listed["next"]}).json()
    assert not {one["ref"] for one in listed["items"]} & {one["ref"] for one in again["items"]}
