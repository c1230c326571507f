"""The web pages: one document for all paths of pages, and its hashed assets."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve_app.errors import not_found
from serve_app.studio.files import PAGES, asset, file_response, index

router = APIRouter()
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_HASHED = re.compile(r"-[\w-]{8}\.\w+$")  # as Vite names what it builds
_FOR_EVER = "public, max-age=31536000, immutable"


def page(request: Request) -> Response:
    """The document of the application in the browser, which finds the page of its path itself."""
    return file_response(request, index(), {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})


for _name in sorted(PAGES):
    router.add_api_route(f"/{_name}", page, name="page")
    if _name:
        router.add_api_route(f"/{_name}/{{rest:path}}", page, name="page")


@router.get("/assets/{asset_name}")
def get_asset(request: Request, asset_name: str) -> Response:
    """One of the built files."""
    found = asset(asset_name)
    if found is None:
        raise not_found("file of that name")
    kept = _FOR_EVER if _HASHED.search(asset_name) else "no-cache"
    return file_response(request, found, {"Cache-Control": kept})
