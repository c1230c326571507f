"""The built files of the web pages, compressed once, and which paths are pages.

`dist/` is made by `make studio` and committed, so that users need no Node. The names of assets contain a hash of their
content, so a browser keeps them for ever; `index.html` is read anew.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import mimetypes
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

ASSETS = "/assets/"
_PACKAGE = files("serve_app.studio")
# The first parts of the paths of pages, which src/app/pageFiles.ts lists.
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
def built_files() -> Mapping[str, StaticFile]:
    """All built files by their names in `dist/`, read once: they fit together, whatever is built while a server runs."""
    dist = _PACKAGE.joinpath("dist")
    assets = {f"assets/{one.name}": one for one in dist.joinpath("assets").iterdir()}
    return {name: _read(name, file) for name, file in {"index.html": dist.joinpath("index.html"), **assets}.items()}


def asset_names() -> list[str]:
    """The names of all files below `/assets/`."""
    return [name.removeprefix("assets/") for name in built_files() if name.startswith("assets/")]


def asset(name: str) -> StaticFile | None:
    """The file `/assets/NAME`; None if there is none."""
    return built_files().get(f"assets/{name}")


def index() -> StaticFile:
    """The page `index.html`."""
    return built_files()["index.html"]


def _read(name: str, file: Traversable) -> StaticFile:
    suffix = name[name.rfind(".") :]
    media_type = _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
    return StaticFile.of(file.read_bytes(), media_type)


def file_response(request: Request, file: StaticFile, headers: dict[str, str]) -> Response:
    """The file, compressed if the client takes that, or 304 if it has it."""
    headers = {**headers, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if file.compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.compressed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.data, media_type=file.media_type, headers=headers)
