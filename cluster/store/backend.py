"""The interface of what stores files. It has two implementations: a local folder and a prefix on S3."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Protocol


class Backend(Protocol):
    """Files under '/'-separated relative paths. Every method may raise StoreError."""

    def location(self, path: str) -> str:
        """Where `path` is, for people."""

    def local(self, path: str) -> Path | None:
        """The path on this machine's file system; None if files must be fetched."""

    def read(self, path: str) -> bytes | None:
        """A small file's bytes; None if there is none."""

    def write(self, path: str, data: bytes) -> None:
        """Writes a small file durably: afterwards, or after a crash at any point, it is the old one or the new one."""

    def add(self, path: str, local: Path, sha256: str, keep: bool) -> None:
        """Stores a file durably, whole or not at all. Unless `keep`, `local` is gone afterwards."""

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if there is none."""

    def sha256(self, path: str) -> str:
        """SHA-256 of a stored file, read anew."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Every file below `folder` at any depth, by its path relative to `folder`, and its bytes."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in `folder`."""

    def remove(self, path: str) -> None:
        """Removes a file, durably. Nothing happens if there is none."""

    def prune(self, folder: str, whole: bool) -> None:
        """Removes empty folders below `folder`; with `whole`, the folder and all that is in it."""

    def fetch(self, path: str, sink: BinaryIO) -> str:
        """Copies a file into `sink`; returns the SHA-256 of what came. Raises OSError, for it has two ends."""

    def free_bytes(self) -> int | None:
        """Bytes that can still be written; None where that is unknown."""
