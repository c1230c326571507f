"""Fetches files of a hub repository into the Hugging Face cache of this node, and checks what came.

The library `huggingface_hub` goes on after a cut only within one call, and throws away what it has when the call fails or
its process ends. So files that are larger than one of its pieces are fetched here, by its own function for one request, into
a file beside its blobs that stays until it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

from configs.download import HubSource
from sae.quoting import quoted, shortened_path
from sae.sources.file_selection import SourceError
from sae.sources.hub_requests import call_hub, hub_credentials, hub_endpoint

_PARALLEL_FILES = 4  # files
REPORT_S = 1.0
_PARTIAL = ".raylens.incomplete"


class HubFile(NamedTuple):
    """A file as the hub lists it: bytes (0: unknown), and its SHA-256 (of large files) or git hash (of others), if any."""

    size: int
    hash: str | None


class HubRevision(NamedTuple):
    """A repository at one commit, with its files by name."""

    source: HubSource
    what: str
    commit: str
    files: Mapping[str, HubFile]

    def fetch(self, names: Sequence[str], progress: Callable[[int], None]) -> Path:
        """Fetches files; gives the folder that holds them. Raises SourceError, before it starts if they do not fit."""
        disable_progress_bars()  # the job has its own
        self._check_disk(names)
        with ThreadPoolExecutor(_PARALLEL_FILES) as threads:
            every = {threads.submit(self.fetch_one, name): name for name in names}
            waiting, folder, whole = set(every), Path(), 0
            try:
                while waiting:
                    ended, waiting = wait(waiting, REPORT_S, FIRST_COMPLETED)
                    for future in ended:
                        folder = Path(str(future.result()).removesuffix(every[future]))
                        whole += self.files[every[future]].size
                    progress(whole + sum(self._begun(every[future]) for future in waiting))
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
        return folder

    def fetch_one(self, name: str) -> Path:
        """The path of one file, which holds what the hub lists. Raises SourceError."""
        for _ in range(2):
            if self.files[name].size > constants.DOWNLOAD_CHUNK_SIZE and self._cached(name) is None:
                self._fetch_large(name)
            path = Path(call_hub(self.source, self.what, partial(hf_hub_download, **self._request(name))))
            if _is_whole(path, self.files[name]):
                return path
            # Damaged on this disk, or mixed from two versions: what is fetched anew is right, or the hub is not.
            _remove(path)
        raise self._changed(name)

    def _changed(self, name: str) -> SourceError:
        return SourceError(
            f"{quoted(name)} of {self.what} {quoted(self.source.repo)} does not have the size and hash that "
            f"{hub_endpoint()} lists for commit {self.commit[:12]}: it changed there under that revision"
        )

    def _request(self, name: str) -> dict[str, Any]:
        return {
            "repo_id": self.source.repo, "filename": name, "repo_type": self.what, "revision": self.commit,
            "endpoint": hub_endpoint(), "token": hub_credentials(),
        }  # fmt: skip

    def _cached(self, name: str) -> str | None:
        found = try_to_load_from_cache(self.source.repo, name, revision=self.commit, repo_type=self.what)
        return found if isinstance(found, str) else None

    def _blobs(self) -> Path:
        return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=self.source.repo, repo_type=self.what), "blobs")

    def _fetch_large(self, name: str) -> None:
        """Puts a file where the library finds it; what an earlier attempt has fetched of it is not fetched again."""
        url = hf_hub_url(self.source.repo, name, repo_type=self.what, revision=self.commit, endpoint=hub_endpoint())
        found = call_hub(
            self.source, self.what, lambda: get_hf_file_metadata(url, token=hub_credentials(), endpoint=hub_endpoint())
        )
        (size, listed_hash), etag = self.files[name], str(found.etag)
        other_hash = listed_hash is not None and len(etag) == len(listed_hash) and etag != listed_hash
        if other_hash or found.size not in (None, size):
            raise self._changed(name)  # on the hub, the ETag is the hash
        if size > constants.MAX_HTTP_DOWNLOAD_SIZE or not etag.isalnum():
            return  # too large for plain HTTP, or no name for a file: the library knows other ways
        blob = self._blobs() / etag
        blob.parent.mkdir(parents=True, exist_ok=True)
        part = blob.with_name(blob.name + _PARTIAL)

        def go_on() -> None:
            with part.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # one job at a time fetches it
                if blob.exists():
                    part.unlink(missing_ok=True)
                    return
                if os.fstat(file.fileno()).st_size > size:
                    file.truncate(0)
                headers = build_hf_headers(token=hub_credentials())
                http_get(url, file, resume_size=os.fstat(file.fileno()).st_size, headers=headers, expected_size=size)
                file.flush()
                os.fsync(file.fileno())
                os.replace(part, blob)

        call_hub(self.source, self.what, go_on, lambda: _size(part))

    def _begun(self, name: str) -> int:
        """Bytes of a file that have come and are not whole yet."""
        return _size(self._blobs() / f"{self.files[name].hash}{_PARTIAL}")

    def _check_disk(self, names: Sequence[str]) -> None:
        """Raises SourceError if the disk of the cache has no room for what is missing."""
        missing = sum(self.files[name].size for name in names if self._cached(name) is None)
        begun = sum(map(self._begun, names))
        cache = Path(constants.HF_HUB_CACHE)
        free = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.exists())).free
        if missing - begun > free:
            raise SourceError(
                f"{self.what} {quoted(self.source.repo)} needs {_gib(missing - begun)} in {shortened_path(cache, 80)}, "
                f"whose disk has {_gib(free)} left: make room, or set HF_HOME to a larger disk"
            )


def _is_whole(path: Path, expected: HubFile) -> bool:
    """Whether a file has the size and the hash that the hub lists for it."""
    size = path.stat().st_size
    if expected.size and size != expected.size:
        return False
    if expected.hash is None:
        return True
    is_git = len(expected.hash) == 40
    start = f"blob {size}\0".encode() if is_git else b""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new("sha1" if is_git else "sha256", start))
    return digest.hexdigest() == expected.hash


def _remove(path: Path) -> None:
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
