"""Files in a local (or mounted, shared) folder. File and folder are synced before a call returns."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cluster.store.errors import StoreError, translated
from cluster.store.hashing import copy_hashed, sha256_of

TEMPORARY = ".tmp-"


class Folder:
    """Backend on a folder of this machine's file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def location(self, path: str) -> str:
        return str(self.root / path)

    def local(self, path: str) -> Path | None:
        return self.root / path

    @translated("read")
    def read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    @translated("write")
    def write(self, path: str, data: bytes) -> None:
        with replacing(self.root / path) as file:
            file.write(data)

    @translated("store")
    def add(self, path: str, local: Path, sha256: str, keep: bool) -> None:
        target = self.root / path
        make_folders(target.parent)
        if not keep and _sole_name(local) and _moved(local, target):
            return
        with open(local, "rb") as source, replacing(target) as file:
            if copy_hashed(source, file) != sha256:
                raise StoreError(f"{local} changed while it was being stored: close a file before you put it")
        if not keep:
            os.unlink(local)

    @translated("look at")
    def size(self, path: str) -> int | None:
        try:
            return os.stat(self.root / path).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    @translated("read")
    def sha256(self, path: str) -> str:
        return sha256_of(self.root / path)

    @translated("list")
    def sizes(self, folder: str) -> dict[str, int]:
        top = self.root / folder
        found: dict[str, int] = {}
        for where, _, names in os.walk(top):
            for name in names:
                full = Path(where, name)
                try:
                    found[full.relative_to(top).as_posix()] = full.lstat().st_size
                except FileNotFoundError:  # another process has renamed or removed it since
                    continue
        return found

    @translated("list")
    def folders(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.root / folder) if entry.is_dir())
        except FileNotFoundError:
            return []

    @translated("remove")
    def remove(self, path: str) -> None:
        target = self.root / path
        try:
            os.unlink(target)
        except FileNotFoundError:
            return
        sync_folder(target.parent)

    @translated("remove")
    def prune(self, folder: str, whole: bool) -> None:
        top = self.root / folder
        if whole and top.exists():
            shutil.rmtree(top)
            sync_folder(top.parent)
        for where, _, _ in os.walk(top, topdown=False):
            if Path(where) != top:
                _remove_if_empty(Path(where))

    def fetch(self, path: str, sink: BinaryIO) -> str:
        with open(self.root / path, "rb") as source:
            return copy_hashed(source, sink)

    @translated("look at")
    def free_bytes(self) -> int | None:
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `target`, synced, when the block ends well; else it is removed."""
    make_folders(target.parent)
    temporary = target.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def make_folders(folder: Path) -> None:
    """Makes a folder and its parents, so that a crash right afterwards does not lose them."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some mounted file systems cannot sync a folder
            raise
    finally:
        os.close(handle)


def _sole_name(local: Path) -> bool:
    """True for a regular file with one name: a link's target, or a file that other names share, may change later."""
    seen = os.lstat(local)
    return stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1


def _moved(local: Path, target: Path) -> bool:
    """Moves a file that lies on the target's file system; False if it lies on another."""
    with open(local, "rb") as file:
        os.fsync(file.fileno())
    try:
        os.rename(local, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    sync_folder(target.parent)
    return True


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
