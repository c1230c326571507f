"""Sends files to a server in pieces. A cut costs the piece that was on its way; a later call goes on where this one ended."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from cluster.machines.paths import raylens_home
from sae.quoting import shortened, shortened_path

PIECE = 16 << 20  # bytes
ATTEMPTS = 8  # in turn that bring nothing: two minutes
_TEMPORARY = (408, 429, 500, 502, 503, 504)


class UploadFailed(RuntimeError):
    """What a server refused, or a file that cannot be sent."""


class _Busy(Exception):
    """An answer that may be another one in a while."""


def run(given: argparse.Namespace) -> int:
    """The command `upload`. Standard output gets one JSON line with the upload's id. Gives the exit status."""
    try:
        headers = {"Authorization": f"Bearer {read_token(given.token_file)}"}
        with httpx2.Client(base_url=given.url, headers=headers, timeout=120.0) as http:
            sender = Sender(http)
            found = sender.send([Path(path) for path in given.paths], given.name, given.resume)
    except (UploadFailed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"upload": found["id"], "files": found["file_count"], "bytes": found["bytes"]}))
    return 0


class Sender:
    """Sends files to one server. `pause_s` is the first pause before a piece is sent again; it doubles each time."""

    def __init__(self, http: httpx2.Client, piece: int = PIECE, pause_s: float = 1.0) -> None:
        self._http, self._piece, self._pause_s = http, piece, pause_s

    def send(self, paths: Sequence[Path], name: str | None = None, resume: str | None = None) -> dict[str, Any]:
        """Sends files and folders as one finished upload, a new one unless `resume` names it. Raises UploadFailed."""
        files = _files(paths)
        upload = self._request("GET", f"/v1/uploads/{resume}") if resume else self._create(name)
        id, come = str(upload["id"]), {file["name"]: int(file["bytes"]) for file in upload["files"]}
        try:
            for number, (file, path) in enumerate(files.items(), 1):
                print(f"[{number}/{len(files)}] {file}, {path.stat().st_size / 2**20:,.1f} MiB", file=sys.stderr)
                self._send_file(id, file, path, come.get(file))
            return self._request("POST", f"/v1/uploads/{id}/finish", json={"files": _hashes(files)})
        except (UploadFailed, OSError, KeyboardInterrupt) as error:
            what = "stopped" if isinstance(error, KeyboardInterrupt) else str(error)
            raise UploadFailed(f"{what} (what has come is kept: go on with --resume {id})") from error

    def _create(self, name: str | None) -> dict[str, Any]:
        return self._request("POST", "/v1/uploads", json={"name": name})

    def _send_file(self, id: str, name: str, path: Path, come: int | None) -> None:
        """Sends the rest of a file, of which `come` bytes are there; None if it is not there at all."""
        size = path.stat().st_size
        if come is not None and come > size:
            raise UploadFailed(f"the server has {come} bytes of {name}, but {shortened_path(path)} has {size}")
        offset = come or 0
        with path.open("rb") as file:
            while offset < size or come is None:
                file.seek(offset)
                offset = come = self._send_piece(id, name, offset, file.read(self._piece))

    def _send_piece(self, id: str, name: str, offset: int, piece: bytes) -> int:
        """Where the next piece begins."""
        target = f"/v1/uploads/{id}/files/{quote(name)}"
        answer = self._request("PATCH", target, headers={"Upload-Offset": str(offset)}, content=piece)
        return int(answer["offset"] if "offset" in answer else answer["bytes"])

    def _request(self, method: str, target: str, **content: Any) -> dict[str, Any]:
        """The answer; for a piece at a wrong offset the problem, which names the right one. Raises UploadFailed."""
        pause = wait_exponential(self._pause_s, max=30)
        attempts = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, httpx2.TransportError | _Busy)),
            stop=stop_after_attempt(ATTEMPTS), wait=pause, reraise=True,
        )  # fmt: skip
        try:
            answer: dict[str, Any] = attempts(self._request_once, method, target, **content)
            return answer
        except (_Busy, httpx2.TransportError) as error:
            raise UploadFailed(f"{self._http.base_url} does not answer: {shortened(str(error), 200)}") from error

    def _request_once(self, method: str, target: str, **content: Any) -> dict[str, Any]:
        response = self._http.request(method, target, **content)
        try:
            answer = response.json()
        except ValueError:
            answer = {}
        if response.is_success or answer.get("code") == "wrong_offset":
            found: dict[str, Any] = answer
            return found
        what = shortened(str(answer.get("detail") or response.text), 300)
        if response.status_code in _TEMPORARY or answer.get("code") == "upload_busy":
            raise _Busy(what)
        raise UploadFailed(f"{method} {target}: {response.status_code}: {what}")


def read_token(file: str | None) -> str:
    """The token of a file that others cannot read; by default the cluster's own. Raises UploadFailed, OSError."""
    if file == "-":
        return sys.stdin.readline().strip()
    path = Path(file) if file else raylens_home() / "token"
    try:
        with path.open(encoding="ascii") as opened:
            status = os.fstat(opened.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise UploadFailed(f"others can read the token in {path}: `chmod 600 {path}`")
            return opened.read(4096).strip()
    except FileNotFoundError:
        raise UploadFailed(f"there is no token file {path}: give one with --token-file") from None


def _files(paths: Sequence[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name, path in _named(paths):
        if name in files:
            raise UploadFailed(f"{shortened_path(files[name])} and {shortened_path(path)} would both be called {name}")
        files[name] = path
    if not files:
        raise UploadFailed("there are no files to send")
    return files


def _named(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Names in the upload: a file's own, and those in a folder by their way from it. Hidden files are left out."""
    for path in paths:
        if path.is_file():
            yield path.name, path
        elif path.is_dir():
            inside = sorted(found for found in path.rglob("*") if found.is_file())
            names = ((found.relative_to(path), found) for found in inside)
            yield from ((name.as_posix(), found) for name, found in names if not any(p[0] == "." for p in name.parts))
        else:
            raise UploadFailed(f"there is no file or folder {shortened_path(path)}")


def _hashes(files: dict[str, Path]) -> dict[str, str]:
    hashes = {}
    for name, path in files.items():
        with path.open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
