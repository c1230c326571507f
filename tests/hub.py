"""A small hub of our own: serves folders as repositories, the way huggingface_hub asks for them.

A repository is a folder `root/datasets/ORG/NAME` or `root/models/ORG/NAME`. Faults may be set for the next requests
of a path: a status (429, 503, ...), "cut" (half of what was asked for, then the connection ends), "cut:N" (N bytes) or
"reset:N" (the same, but the client sees a reset). As on the real hub, files above LFS_BYTES are named by their SHA-256,
smaller ones by their git hash.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

COMMIT = "a" * 40
LFS_BYTES = 1000
_PIECE = 1 << 16


class Hub:
    """A running hub. `faults` maps a part of a request's path to the faults of the next such requests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: dict[str, list[int | str]] = {}
        self.requests: Counter[str] = Counter()
        self.gated: set[str] = set()
        self.token = ""
        self.ranges: list[str] = []
        self.sent: Counter[str] = Counter()  # bytes of bodies, by path
        self.retry_after = "0"
        self.pause_s = 0.0  # after each 64 KiB
        self.authorizations: set[str | None] = set()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def repo(self, what: str, name: str) -> Path:
        """Folder of a repository, made if need be."""
        folder = self.root / f"{what}s" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def fault(self, path: str) -> int | str | None:
        """Takes the next fault for a path."""
        for part, faults in self.faults.items():
            if part in path and faults:
                return faults.pop(0)
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.requests[f"{self.command} {path}"] += 1
        self.hub.authorizations.add(self.headers.get("Authorization"))
        fault = self.hub.fault(path) if body else None
        if isinstance(fault, int):
            return self._send(fault, b"{}", {"Retry-After": self.hub.retry_after})
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        file = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if api is not None:
            return self._repo(api[1], api[2], api[3] or "main")
        if file is not None:
            return self._file("datasets" if file[1] else "models", file[2], file[4], body, fault if body else None)
        return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _allowed(self, kind: str, name: str) -> bool:
        if not (self.hub.root / kind / name).is_dir():
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            return False
        if name in self.hub.gated and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            return False
        return True

    def _repo(self, kind: str, name: str, revision: str) -> None:
        if not self._allowed(kind, name):
            return
        if revision not in ("main", COMMIT):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev"})
        folder = self.hub.root / kind / name
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        siblings = [{"rfilename": p.relative_to(folder).as_posix(), **_metadata(p.read_bytes())} for p in files]
        info = {
            "id": name,
            "sha": COMMIT,
            "siblings": siblings,
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }
        self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _file(self, kind: str, name: str, file: str, body: bool, fault: str | None) -> None:
        if not self._allowed(kind, name):
            return
        path = self.hub.root / kind / name / file
        if not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        headers = {
            "ETag": f'"{_hash(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes",
        }  # fmt: skip
        status = 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is not None:
            self.hub.ranges.append(wanted[0])
            first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self._send(status, content, headers, body, fault)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], body: bool = True, fault: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        kind, _, count = (fault or "").partition(":")
        if body:
            self._write(content if fault is None else content[: int(count or len(content) // 2)])
        if fault is not None:
            self.close_connection = True
            if kind == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _write(self, content: bytes) -> None:
        path = unquote(urlparse(self.path).path)
        for start in range(0, len(content), _PIECE):
            self.wfile.write(content[start : start + _PIECE])
            self.hub.sent[path] += len(content[start : start + _PIECE])
            time.sleep(self.hub.pause_s)


def _hash(content: bytes) -> str:
    """The hash that the hub names a file by."""
    if len(content) > LFS_BYTES:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _metadata(content: bytes) -> dict[str, Any]:
    size, named = len(content), _hash(content)
    if size > LFS_BYTES:
        return {"size": size, "blobId": "0" * 40, "lfs": {"sha256": named, "size": size, "pointerSize": 130}}
    return {"size": size, "blobId": named}


@contextmanager
def running_hub(root: Path) -> Iterator[Hub]:
    """Serves `root` for the time of the block."""
    hub = Hub(root)
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process asks instead of the real one, with an empty cache."""
    import huggingface_hub.constants as constants

    with running_hub(tmp_path / "hub") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        secret = str(tmp_path / "hf-home" / "token")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", secret)
        monkeypatch.setenv("HF_TOKEN_PATH", secret)
        cache = str(tmp_path / "hf-cache")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # for this process,
        monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # and for those that it starts
        monkeypatch.setenv("HF_HUB_CACHE", cache)
        yield running
