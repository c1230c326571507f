"""Uploads: files that clients send piece by piece into a folder of the server, and that never change once finished.

    FOLDER/ID/upload.json    what it is called, who made it and, once it is finished, the hash of each file
    FOLDER/ID/files/NAME     the bytes so far: the next piece goes on where they end
    FOLDER/ID/lock           locked by who writes (shared), and by who finishes or removes the upload (alone)

Everything that is known is in these files. So any process can take the next piece, and one that dies loses nothing of the
pieces that it has acknowledged.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from sae.quoting import listed, quoted, shortened, shortened_path
from sae.sources.file_selection import SourceError

MOST_FILES = 1000
RESERVE = 256 << 20  # bytes of the disk that uploads leave free: the catalog may lie there too
_REMOVED = ".removed-"


class UploadError(SourceError):
    """A request about an upload that cannot be met. `code` names the reason for programs, `offset` where a piece goes on."""

    def __init__(self, code: str, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.code, self.offset = code, offset


class UploadRecord(BaseModel):
    """upload.json. Times are seconds since 1970; `sha256` has the files of a finished upload."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str | None
    created_by: str
    created_at: float
    finished_at: float | None = None
    sha256: dict[str, str] = {}


class UploadFile(NamedTuple):
    """One file: its name with `/` between folders, the bytes that have come, and its hash once the upload is finished."""

    name: str
    bytes: int
    sha256: str | None


class Upload(NamedTuple):
    """An upload as it is now. `changed_at`: when the last byte came, or it was finished (seconds since 1970)."""

    record: UploadRecord
    files: list[UploadFile]
    changed_at: float

    @property
    def finished(self) -> bool:
        """Whether it is whole, so that it can be a source."""
        return self.record.finished_at is not None

    @property
    def bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.bytes for file in self.files)


class Piece:
    """A piece of a file that is being written, at its end. `end` is where the next one goes on."""

    def __init__(self, descriptor: int, start: int, most: int) -> None:
        self._descriptor, self._most = descriptor, most
        self.end = start

    def write(self, data: bytes) -> None:
        """Appends. Raises UploadError: too_large, no_space."""
        if self.end + len(data) > self._most:
            raise UploadError("too_large", "the upload would have more bytes than RAYLENS_UPLOAD_BYTES of this server")
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise _no_space() from error
                raise
            self.end += written
            rest = rest[written:]


class Uploads:
    """The uploads in one folder; `most_bytes` bounds one of them. Methods block, and raise UploadError."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes

    def create(self, name: str | None, created_by: str) -> Upload:
        """A new upload without files."""
        record = UploadRecord(id=secrets.token_hex(8), name=name, created_by=created_by, created_at=time.time())
        place = self.folder / record.id
        (place / "files").mkdir(parents=True, mode=0o700)
        (place / "lock").touch(mode=0o600)
        self._write(record)
        return self.get(record.id)

    def get(self, id: str) -> Upload:
        """One upload. Raises UploadError: not_found."""
        record = self._record(id)
        root = self.files_folder(id)
        sizes, changed_at = {}, max(record.created_at, record.finished_at or 0)
        for where, _, names in os.walk(root):
            for name in names:
                path = Path(where, name)
                try:
                    status = path.stat()
                except FileNotFoundError:  # removed since
                    continue
                sizes[path.relative_to(root).as_posix()] = status.st_size
                changed_at = max(changed_at, status.st_mtime)
        files = [UploadFile(name, sizes[name], record.sha256.get(name)) for name in sorted(sizes)]
        return Upload(record, files, changed_at)

    def all(self) -> list[Upload]:
        """Every upload, the newest first."""
        found = []
        for entry in os.scandir(self.folder) if self.folder.is_dir() else ():
            if not entry.name.startswith("."):
                try:
                    found.append(self.get(entry.name))
                except (UploadError, FileNotFoundError):  # removed since, or a folder of something else
                    continue
        return sorted(found, key=lambda upload: (-upload.record.created_at, upload.record.id))

    def files_folder(self, id: str) -> Path:
        """The folder that holds the files of an upload under their names."""
        return self.folder / id / "files"

    @contextmanager
    def piece(self, id: str, name: str, offset: int, length: int = 0) -> Iterator[Piece]:
        """A piece of `length` bytes (0: unknown) to be written at `offset`, which must be the end of what has come.

        What was written is kept, and durable when the block ends, however it ends. Raises UploadError: not_found,
        upload_finished, upload_busy, name_not_allowed, name_conflict, wrong_offset, too_large, too_many_files, no_space.
        """
        path = self.files_folder(id) / checked_name(name)
        with self._locked(id, fcntl.LOCK_SH):
            upload = self._open_upload(id)
            others = upload.bytes - sum(file.bytes for file in upload.files if file.name == name)
            if offset + length + others > self.most_bytes:
                raise UploadError("too_large", f"an upload has at most {self.most_bytes} bytes (RAYLENS_UPLOAD_BYTES)")
            if len(upload.files) >= MOST_FILES and name not in {file.name for file in upload.files}:
                raise UploadError(
                    "too_many_files", f"an upload has at most {MOST_FILES} files: pack them into tar archives"
                )
            if shutil.disk_usage(self.folder).free < length + RESERVE:
                raise _no_space()
            descriptor = _open_locked(path)
            try:
                size = os.fstat(descriptor).st_size
                if size != offset:
                    raise UploadError("wrong_offset", f"{quoted(name)} goes on at byte {size}, not {offset}", size)
                yield Piece(descriptor, offset, self.most_bytes - others)
            finally:
                os.fsync(descriptor)
                os.close(descriptor)

    def finish(self, id: str, sha256: Mapping[str, str]) -> Upload:
        """Ends an upload whose files have these hashes, by name; again with the same hashes it does nothing.

        Raises UploadError: not_found, upload_finished, upload_busy, wrong_files, wrong_hash.
        """
        with self._locked(id, fcntl.LOCK_EX):
            upload = self.get(id)
            if upload.finished and upload.record.sha256 == dict(sha256):
                return upload
            self._open_upload(id)
            names = {file.name for file in upload.files}
            if not names or names != set(sha256):
                missing, others = sorted(set(sha256) - names), sorted(names - set(sha256))
                raise UploadError(
                    "wrong_files",
                    f"upload {id} must be finished with the SHA-256 of each of its files: not uploaded are "
                    f"{listed(missing)}, without a hash {listed(others)}",
                )
            for name in sorted(names):
                self._check_hash(id, name, sha256[name])
            self._write(upload.record.model_copy(update={"finished_at": time.time(), "sha256": dict(sha256)}))
            return self.get(id)

    def remove(self, id: str) -> None:
        """Removes an upload with its files. Raises UploadError: not_found, upload_busy."""
        with self._locked(id, fcntl.LOCK_EX):
            gone = self.folder / f"{_REMOVED}{id}"
            os.rename(self.folder / id, gone)  # at once: half an upload is none
        shutil.rmtree(gone)

    def remove_file(self, id: str, name: str) -> None:
        """Removes one file of an unfinished upload. Raises UploadError: not_found, upload_finished, upload_busy."""
        path = self.files_folder(id) / checked_name(name)
        with self._locked(id, fcntl.LOCK_EX):
            self._open_upload(id)
            if not path.is_file():
                raise UploadError("not_found", f"upload {id} has no file {quoted(name)}")
            path.unlink()
            for folder in path.parents:
                if folder == self.files_folder(id) or any(folder.iterdir()):
                    break
                folder.rmdir()

    def leftovers(self) -> list[Path]:
        """Folders whose removal did not come to its end."""
        return sorted(self.folder.glob(f"{_REMOVED}*"))

    def _record(self, id: str) -> UploadRecord:
        try:
            return UploadRecord.model_validate_json((self.folder / id / "upload.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise self._not_found(id) from None

    def _not_found(self, id: str) -> UploadError:
        return UploadError("not_found", f"there is no upload {quoted(id)} in {shortened_path(self.folder)}")

    def _open_upload(self, id: str) -> Upload:
        upload = self.get(id)
        if upload.finished:
            raise UploadError("upload_finished", f"upload {id} is finished, so it does not change: create another one")
        return upload

    def _check_hash(self, id: str, name: str, expected: str) -> None:
        with (self.files_folder(id) / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise UploadError(
                "wrong_hash",
                f"{quoted(name)} has SHA-256 {found}, not {shortened(expected)}: delete the file and send it again",
            )

    def _write(self, record: UploadRecord) -> None:
        target = self.folder / record.id / "upload.json"
        temporary = target.with_name(".upload.json")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(record.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self, id: str, how: int) -> Iterator[None]:
        self._record(id)
        try:
            descriptor = os.open(self.folder / id / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            raise self._not_found(id) from None
        try:
            _lock(descriptor, how)
            self._record(id)  # it may have been removed in between
            yield
        finally:
            os.close(descriptor)


def checked_name(name: str) -> str:
    """The name of a file in an upload. Raises UploadError (name_not_allowed) for one that could leave its folder."""
    parts = name.split("/")
    if (
        any(not part or part.startswith(".") or len(part.encode("utf-8", "replace")) > 255 for part in parts)
        or len(name) > 500
        or any(ord(c) < 32 or ord(c) == 127 or c == "\\" or 0xD800 <= ord(c) <= 0xDFFF for c in name)
    ):
        raise UploadError(
            "name_not_allowed",
            f"{quoted(name)} cannot name a file: give a relative name of at most 500 characters with `/` between folders, "
            "no part of which is empty or begins with a dot",
        )
    return name


def _open_locked(path: Path) -> int:
    """The file's descriptor for appending; the only one, as long as it is open."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise UploadError("name_conflict", f"{quoted(path.name)}: a file cannot have the name of a folder") from None
    try:
        _lock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, how: int) -> None:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UploadError("upload_busy", "another request is at work on this: try again in a moment") from None


def _no_space() -> UploadError:
    return UploadError(
        "no_space", "the disk of the server's uploads is full: remove uploads, or set RAYLENS_UPLOADS to another disk"
    )
