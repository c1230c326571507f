"""SHA-256 of files, each checked once in a process."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import BinaryIO

BLOCK = 4 << 20

# (path, inode, size, mtime, sha256): a file that is replaced or written to is checked again.
_checked: set[tuple[str, int, int, int, str]] = set()
_lock = threading.Lock()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_hashed(source: BinaryIO, sink: BinaryIO) -> str:
    """Copies all that is left of `source` to `sink` and returns the SHA-256 of the bytes that went through."""
    digest = hashlib.sha256()
    while block := source.read(BLOCK):
        digest.update(block)
        sink.write(block)
    return digest.hexdigest()


def matches(path: Path, size: int, sha256: str) -> str | None:
    """None if the file has this size and hash; else the hash that it has. FileNotFoundError if there is none."""
    seen = os.stat(path)
    key = (str(path), seen.st_ino, seen.st_size, seen.st_mtime_ns, sha256)
    with _lock:
        if key in _checked:
            return None
    found = sha256_of(path)
    if found != sha256 or seen.st_size != size:
        return found
    with _lock:
        _checked.add(key)
    return None
