"""Bearer tokens with scopes. The file holds hashes only; the token itself is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from serve_app.settings import is_loopback

SCOPES = ("read", "write")
PREFIX = "rl_"
FILE = "api_tokens.json"
CLUSTER = "cluster"  # id and name of who has the cluster's own token
_NAME = re.compile(r"^[\w .@+-]{1,64}$")


class TokensError(RuntimeError):
    """The tokens cannot be read or changed."""


class Principal(NamedTuple):
    """Who sent a request, and what it may do."""

    id: str
    name: str
    scopes: frozenset[str]


class Token(NamedTuple):
    """One row of the file. Times are seconds since 1970 (UTC)."""

    id: str
    name: str
    scopes: list[str]
    sha256: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def valid(self, now: float) -> bool:
        """True unless it was revoked or has expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class Tokens:
    """The tokens of one RAYLENS_HOME. It reads the file again when it has changed: revoking a token works at once.

    `cluster_token`: on a server that only this machine can reach, the token of the cluster itself
    (`$RAYLENS_HOME/token`) is accepted too: who can read it can run anything on the cluster already.
    """

    def __init__(self, home: Path, cluster_token: bool = False) -> None:
        self.path = home / FILE
        self._cluster = home / "token" if cluster_token else None
        self._version: tuple[int, int, int] | None = None
        self._by_hash: dict[str, Token] = {}

    def verify(self, text: str, local_client: bool = True) -> Principal | None:
        """The principal of a token; None if the token is not valid. Reads files: not for an event loop. Raises TokensError.

        `local_client`: whether the client is on this machine. Only then is the cluster's own token accepted.
        """
        self._refresh()
        token = self._by_hash.get(digest(text))
        if token is not None and token.valid(time.time()):
            return Principal(token.id, token.name, frozenset(token.scopes))
        own = _read_secret(self._cluster) if local_client and self._cluster is not None else None
        if own is not None and hmac.compare_digest(own.encode(), text.encode("utf-8", "replace")):
            return Principal(CLUSTER, CLUSTER, frozenset(SCOPES))
        return None

    def is_valid(self, id: str) -> bool:
        """Whether the token of an id is valid still; the cluster's own always is. Raises TokensError."""
        return id == CLUSTER or any(token.id == id and token.valid(time.time()) for token in self.all())

    def expiry(self, id: str) -> float | None:
        """When the token of an id expires; None for never. Raises TokensError."""
        return next((token.expires_at for token in self.all() if token.id == id), None)

    def all(self) -> list[Token]:
        """All tokens, revoked ones too, the oldest first."""
        self._refresh()
        return sorted(self._by_hash.values(), key=lambda token: token.created_at)

    def create(self, name: str, scopes: list[str], ttl_s: float | None = None) -> tuple[Token, str]:
        """Creates a token. Returns its row and the token itself, which is stored nowhere. Raises TokensError."""
        wrong = sorted(set(scopes) - set(SCOPES))
        if wrong or not scopes:
            raise TokensError(f"there is no scope {wrong[0]!r}" if wrong else "a token needs a scope: read or write")
        if not _NAME.match(name):
            raise TokensError(f"{name!r} cannot name a token: use 1 to 64 letters, digits, spaces and . @ + - _")
        if ttl_s is not None and not ttl_s > 0:
            raise TokensError("a token must live longer than 0 s")
        text = PREFIX + secrets.token_urlsafe(32)
        now = time.time()
        token = Token(
            id=secrets.token_hex(4),
            name=name,
            # `write` includes `read`.
            scopes=sorted({*scopes, "read"}),
            sha256=digest(text),
            created_at=now,
            expires_at=None if ttl_s is None else now + ttl_s,
        )
        with self._changed() as tokens:
            tokens[token.sha256] = token
        return token, text

    def revoke(self, which: str) -> list[Token]:
        """Revokes and returns the tokens of an id or name. Raises TokensError if none of them is valid."""
        now = time.time()
        with self._changed() as tokens:
            found = [t for t in tokens.values() if which in (t.id, t.name) and t.valid(now)]
            if not found:
                raise TokensError(f"no valid token has the id or name {which!r}; `list` shows them")
            for token in found:
                tokens[token.sha256] = token._replace(revoked_at=now)
        return found

    def _refresh(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._version, self._by_hash = None, {}
            return
        except OSError as error:
            raise TokensError(f"cannot read {self.path}: {error.strerror}") from error
        if status.st_mode & 0o077:
            raise TokensError(f"{self.path} can be read by others: `chmod 600` it, and revoke what is in it")
        version = (status.st_mtime_ns, status.st_ino, status.st_size)
        if version != self._version:
            self._by_hash = self._read()
            self._version = version

    def _read(self) -> dict[str, Token]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))["tokens"]
            return {row["sha256"]: Token(**row) for row in rows}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TokensError(f"{self.path} cannot be read ({error}): remove it and make new tokens") from error

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Token]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path.with_suffix(".lock"), mode=0o600):
                tokens = self._read()
                yield tokens
                _replace(self.path, json.dumps({"tokens": [t._asdict() for t in tokens.values()]}, indent=1))
        except OSError as error:
            raise TokensError(f"cannot write {self.path}: {error.strerror}") from error


def check_exposure(host: str, tokens: Tokens, others: bool) -> None:
    """Raises TokensError for an address that other machines reach, unless `others` is set and a valid token exists."""
    if is_loopback(host):
        return
    if not others:
        raise TokensError(
            f"{host} is an address that other machines can reach, over plain HTTP: if you want that, add "
            "--i-understand-that-others-can-reach-it"
        )
    if not any(token.valid(time.time()) for token in tokens.all()):
        raise TokensError(
            "there is no valid token: create one with `python -m serve_app token create NAME --scope write`"
        )


def digest(text: str) -> str:
    """The SHA-256 of a secret."""
    # 256 random bits: a plain hash cannot be searched, so it needs neither salt nor slowness.
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _read_secret(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
