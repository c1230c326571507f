"""A node's copies of files that lie elsewhere: each fetched once under a lock, named by its SHA-256 and checked."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from cluster.store.errors import FULL, StoreError, StoreFull
from cluster.store.hashing import matches

log = logging.getLogger(__name__)


class Cache:
    """Layout: files/<sha256>, links/<name>/ and locks/. Nothing is removed; delete the folder to empty it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, sha256: str, size: int, fill: Callable[[BinaryIO], str]) -> tuple[Path, str]:
        """The path of a copy, and the hash of what was found: equal to `sha256`, or the path does not exist."""
        path = self.root / "files" / sha256[:2] / sha256
        with self._locked(sha256):
            if path.exists():
                if matches(path, size, sha256) is None:
                    return path, sha256
                log.warning("the cached file %s is damaged: it is fetched again", path)
                path.unlink()
            return path, self._fill(path, sha256, fill)

    def _fill(self, path: Path, sha256: str, fill: Callable[[BinaryIO], str]) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{sha256}")  # one name: what a killed process left is written over
        try:
            with open(temporary, "wb") as sink:
                found = fill(sink)
            if found == sha256:
                os.replace(temporary, path)
            return found
        except OSError as error:
            if error.errno in FULL:
                raise StoreFull(
                    f"no space is left for the node's cache {self.root}: make room, or set RAYLENS_CACHE elsewhere"
                ) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def links(self, key: str, targets: dict[str, Path]) -> Path:
        """A folder whose entries, by name, are links to `targets`. `key` names one set of targets for ever."""
        folder = self.root / "links" / key
        with self._locked(key.replace("/", "-")):
            if _leads_to(folder, targets):
                return folder
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
            for name, target in targets.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).symlink_to(target)
            os.replace(temporary, folder)
        return folder

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        lock = FileLock(self.root / "locks" / key)
        try:
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            kind = StoreFull if error.errno in FULL else StoreError
            raise kind(f"cannot use the node's cache {self.root}: {error}; set RAYLENS_CACHE elsewhere") from error
        try:
            yield
        finally:
            lock.release()


def _leads_to(folder: Path, targets: dict[str, Path]) -> bool:
    return folder.is_dir() and all(
        (folder / name).is_symlink() and (folder / name).readlink() == to for name, to in targets.items()
    )
