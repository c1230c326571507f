"""The built files of the web pages, compressed once, and which paths are pages.

`dist/` is made by `make studio` and committed, so that users need no Node. The names of assets contain a hash of their
content, so a browser keeps them for ever; `index.html` is read anew.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import mimetypes
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

ASSETS = "/assets/"
_PACKAGE = files("serve_app.studio")
# The first parts of the paths of pages, which src/app/routes.tsx routes.
PAGES: frozenset[str] = frozenset(json.loads(_PACKAGE.joinpath("pages.json").read_text(encoding="utf-8")))
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_SMALLEST = 1024  # bytes; a smaller file is not compressed


class StaticFile(NamedTuple):
    """A file that does not change while the server runs."""

    data: bytes
    compressed: bytes | None  # by gzip, where that is smaller
    media_type: str
    etag: str

    @classmethod
    def of(cls, data: bytes, media_type: str) -> StaticFile:
        """With the data compressed, and its ETag."""
        small = gzip.compress(data, 9, mtime=0) if len(data) >= _SMALLEST else data
        etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        return cls(data, small if len(small) < len(data) else None, media_type, etag)


def is_page(path: str) -> bool:
    """Whether a path is one of a page of the application in the browser."""
    first, _, _ = path.removeprefix("/").partition("/")
    return path == "/" or (first != "" and first in PAGES)


@cache
def asset_names() -> frozenset[str]:
    """The names of all files below `/assets/`."""
    folder = _PACKAGE.joinpath("dist", "assets")
    return frozenset(one.name for one in folder.iterdir()) if folder.is_dir() else frozenset()


def asset(name: str) -> StaticFile | None:
    """The file `/assets/NAME`; None if there is none."""
    return _file(f"assets/{name}") if name in asset_names() else None


def index() -> StaticFile:
    """The page `index.html`."""
    return _file("index.html")


@cache
def _file(name: str) -> StaticFile:
    data = _PACKAGE.joinpath("dist", *name.split("/")).read_bytes()
    suffix = name[name.rfind(".") :]
    media_type = _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
    return StaticFile.of(data, media_type)


def file_response(request: Request, file: StaticFile, headers: dict[str, str]) -> Response:
    """The file, compressed if the client takes that, or 304 if it has it."""
    headers = {**headers, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if file.compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.compressed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.data, media_type=file.media_type, headers=headers)
