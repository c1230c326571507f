"""Files under a prefix of an S3 bucket, through pyarrow. An object appears when its upload is complete."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from pyarrow.fs import FileSelector, FileSystem, FileType, S3FileSystem, resolve_s3_region

from cluster.store.errors import StoreError, explain, translated
from cluster.store.hashing import copy_hashed

ADVICE = (
    "; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL (for a server that is not Amazon's) and "
    "AWS_REGION in the environment of every node, and that the bucket exists"
)


class Bucket:
    """Backend on `bucket/prefix`. Endpoint, keys and region come from the environment, never from values passed on."""

    def __init__(self, root: str) -> None:
        self.root = root.strip("/")
        bucket = self.root.split("/")[0]
        if not bucket:
            raise StoreError("a store on S3 is given as s3://BUCKET/PREFIX; no bucket is named")
        try:
            self.fs: FileSystem = connect(bucket)
        except OSError as error:
            raise explain("reach", "", error, str(self)) from error

    def __str__(self) -> str:
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        return f"s3://{self.root}" + (f" at {endpoint}" if endpoint else "")

    def location(self, path: str) -> str:
        return f"s3://{self.root}/{path}"

    def local(self, path: str) -> Path | None:
        return None

    def _key(self, path: str) -> str:
        return f"{self.root}/{path}".rstrip("/")

    @translated("read", ADVICE)
    def read(self, path: str) -> bytes | None:
        try:
            with self.fs.open_input_stream(self._key(path)) as file:
                return bytes(file.read())
        except FileNotFoundError:
            self._require_bucket()
            return None

    @translated("write", ADVICE)
    def write(self, path: str, data: bytes) -> None:
        # Delayed open makes one PUT of a small object: there is no moment at which a part of it can be read.
        with self.fs.open_output_stream(self._key(path)) as file:
            file.write(data)

    @translated("store", ADVICE)
    def add(self, path: str, local: Path, sha256: str, keep: bool) -> None:
        with open(local, "rb") as source, self.fs.open_output_stream(self._key(path)) as sink:
            sent = copy_hashed(source, sink)
            size = source.tell()
        if sent != sha256:
            self.remove(path)
            raise StoreError(f"{local} changed while it was being stored: close a file before you put it")
        if self.size(path) != size:
            raise StoreError(
                f"{self} did not keep all of {path!r}: {size} bytes were sent, {self.size(path)} are there"
            )
        if not keep:
            os.unlink(local)

    @translated("look at", ADVICE)
    def size(self, path: str) -> int | None:
        info = self.fs.get_file_info(self._key(path))
        return int(info.size) if info.type == FileType.File else None

    @translated("read", ADVICE)
    def sha256(self, path: str) -> str:
        with open(os.devnull, "wb") as nowhere:
            return self.fetch(path, nowhere)

    @translated("list", ADVICE)
    def sizes(self, folder: str) -> dict[str, int]:
        top = self._key(folder)
        selector = FileSelector(top, recursive=True, allow_not_found=True)
        infos = self.fs.get_file_info(selector)
        return {i.path[len(top) + 1 :]: int(i.size) for i in infos if i.type == FileType.File}

    @translated("list", ADVICE)
    def folders(self, folder: str) -> list[str]:
        infos = self.fs.get_file_info(FileSelector(self._key(folder), allow_not_found=True))
        return sorted(i.base_name for i in infos if i.type == FileType.Directory)

    @translated("remove", ADVICE)
    def remove(self, path: str) -> None:
        if self.size(path) is not None:
            self.fs.delete_file(self._key(path))

    @translated("remove", ADVICE)
    def prune(self, folder: str, whole: bool) -> None:
        # S3 has no empty folders to clear away, only markers that some clients leave.
        if whole and self.fs.get_file_info(self._key(folder)).type == FileType.Directory:
            self.fs.delete_dir(self._key(folder))

    def fetch(self, path: str, sink: BinaryIO) -> str:
        with self.fs.open_input_stream(self._key(path)) as source:
            return copy_hashed(source, sink)

    def free_bytes(self) -> int | None:
        return None

    def _require_bucket(self) -> None:
        """Tells a missing object from a missing bucket: the first is an answer, the second a mistake."""
        bucket = self.root.split("/")[0]
        if self.fs.get_file_info(bucket).type == FileType.NotFound:
            raise StoreError(f"there is no bucket {bucket!r} for {self}; make it first, RayLens does not")


def connect(bucket: str) -> FileSystem:
    """The file system for a bucket by the AWS_* variables; Amazon's own, or a server at AWS_ENDPOINT_URL."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        region = "us-east-1" if endpoint else resolve_s3_region(bucket)
    return S3FileSystem(
        access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
        secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
        session_token=os.environ.get("AWS_SESSION_TOKEN"),
        region=region,
        endpoint_override=endpoint,
        allow_delayed_open=True,
        connect_timeout=10,
        request_timeout=60,
    )
