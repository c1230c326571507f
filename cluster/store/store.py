"""The store: artifacts under KIND/ID/, in a local or shared folder or on S3. What no manifest names does not exist."""

from __future__ import annotations

import json
import secrets
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.store.artifact_files import ArtifactFiles, StoredFiles
from cluster.store.backend import Backend
from cluster.store.errors import CorruptFile, StoreError, explain
from cluster.store.folder import Folder
from cluster.store.hashing import sha256_of
from cluster.store.manifest import MANIFEST, PART, Manifest, StoredFile, check_name
from configs.artifact_ids import ArtifactRef
from configs.settings import settings


class Store:
    """Where artifacts live. A small value: it travels to workers, which read credentials and cache folder on their own node."""

    def __init__(self, url: str, cache: str | None = None) -> None:
        self.url = url
        self.cache = cache

    @classmethod
    def open(cls, url: str | None = None, cache: str | None = None) -> Store:
        """The store at `url` (a folder or s3://BUCKET/PREFIX), else RAYLENS_STORE, else $RAYLENS_HOME/store."""
        url = url or settings().store_url
        if "://" not in url:
            return cls(str(Path(url).expanduser().absolute()), cache)
        if not url.startswith("s3://"):
            raise StoreError(f"{url!r} is not a store: give a folder or s3://BUCKET/PREFIX")
        return cls(url.rstrip("/"), cache)

    def __reduce__(self) -> tuple[type[Store], tuple[str, str | None]]:
        return type(self), (self.url, self.cache)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    @cached_property
    def backend(self) -> Backend:
        """The folder or bucket behind the URL; made when first used, so that it never travels."""
        if self.url.startswith("s3://"):
            from cluster.store.s3 import Bucket  # pyarrow's S3 client takes half a second to load

            return Bucket(self.url.removeprefix("s3://"))
        return Folder(Path(self.url))

    def cache_folder(self) -> Path:
        """This node's cache: as opened, else RAYLENS_CACHE, else $RAYLENS_HOME/cache."""
        return Path(self.cache).expanduser() if self.cache else settings().cache_folder

    @staticmethod
    def key(ref: ArtifactRef, path: str = "") -> str:
        """A path below an artifact's prefix, relative to the store."""
        return f"{ref.kind}/{ref.id}/{path}".rstrip("/")

    def location(self, ref: ArtifactRef, path: str = "") -> str:
        """Where an artifact or one of its files is, for people."""
        return self.backend.location(self.key(ref, path))

    def put(
        self,
        ref: ArtifactRef,
        attempt: int,
        name: str,
        local: Path,
        extra: dict[str, Any] | None = None,
        part: bool = False,
        keep: bool = False,
    ) -> StoredFile:
        """Stores a closed file, durably and whole or not at all, and takes it over: `local` is gone afterwards.

        `keep` leaves `local` where it is (a copy). `part` also records the file, with `extra`, as finished, so that
        `parts` finds it when the job is resumed. Nothing stored before is ever written over: a file of other content
        under the same name and attempt gets a path of its own. Raises StoreFull, StoreError.
        """
        check_name(name)
        try:
            size, sha256 = local.stat().st_size, sha256_of(local)
        except OSError as error:
            raise explain("store", str(local), error, str(ref)) from error
        path = f"a{attempt}/{name}"
        if not self._holds(ref, path, size, sha256):
            if self.backend.size(self.key(ref, path)) is not None:
                path = f"a{attempt}/_{sha256[:12]}/{name}"
            self.backend.add(self.key(ref, path), local, sha256, keep)
        elif not keep:
            local.unlink()
        file = StoredFile(name, path, size, sha256)
        if part:
            note = json.dumps({"file": file._asdict(), "extra": extra or {}}, allow_nan=False)
            self.backend.write(self.key(ref, f"a{attempt}/{name}{PART}"), note.encode())
        return file

    def _holds(self, ref: ArtifactRef, path: str, size: int, sha256: str) -> bool:
        key = self.key(ref, path)
        return self.backend.size(key) == size and self.backend.sha256(key) == sha256

    def parts(self, ref: ArtifactRef) -> dict[str, tuple[StoredFile, dict[str, Any]]]:
        """Finished parts by logical name: of parts of one name, the latest attempt's. Those cut short are left out."""
        sizes = self.backend.sizes(self.key(ref))
        notes = [path for path in sizes if path.endswith(PART)]
        found: dict[str, tuple[StoredFile, dict[str, Any]]] = {}
        for path in sorted(notes, key=lambda p: int(p[1 : p.index("/")])):
            file, extra = self._note(ref, path)
            if sizes.get(file.path) == file.size:
                found[file.name] = file, extra
        return dict(sorted(found.items()))

    def part_files(self, ref: ArtifactRef) -> StoredFiles:
        """The files of `parts`, to be read with their recorded hashes checked."""
        return StoredFiles(self, ref, [file for file, _ in self.parts(ref).values()])

    def _note(self, ref: ArtifactRef, path: str) -> tuple[StoredFile, dict[str, Any]]:
        data = self.backend.read(self.key(ref, path))
        try:
            note = json.loads(data or b"")
            return StoredFile(**note["file"]), note["extra"]
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptFile(
                f"{ref}: the note on a finished part, {self.location(ref, path)}, cannot be read ({error}); "
                "delete that file and run the job again: the part will be made anew"
            ) from error

    def commit(self, manifest: Manifest) -> None:
        """Makes the artifact exist: checks that all its files are there, then writes the manifest, last and atomically.

        Does nothing if there is an equal manifest. Raises StoreError if a file is missing or of another size, or if there
        is the manifest of a newer attempt.
        """
        ref = manifest.ref
        present = self.manifest(ref)
        if present == manifest:
            return
        if present is not None and present.attempt > manifest.attempt:
            raise StoreError(f"{ref} was finished by attempt {present.attempt}; attempt {manifest.attempt} is too late")
        sizes = self.backend.sizes(self.key(ref))
        wrong = [f"{f.path} (expected {f.size} bytes, found {sizes.get(f.path, 'no file')})" for f in manifest.files
                 if sizes.get(f.path) != f.size]  # fmt: skip
        if wrong:
            raise StoreError(f"{ref} cannot be finished in {self.location(ref)}: " + "; ".join(wrong))
        body = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False)
        self.backend.write(self.key(ref, MANIFEST), body.encode())

    def manifest(self, ref: ArtifactRef) -> Manifest | None:
        """The artifact's manifest; None if the artifact does not exist. Raises CorruptFile if it cannot be read."""
        data = self.backend.read(self.key(ref, MANIFEST))
        if data is None:
            return None
        try:
            manifest = Manifest.model_validate_json(data)
            if manifest.ref != ref:
                raise ValueError(f"it is that of {manifest.ref}")
            return manifest
        except ValueError as error:
            raise CorruptFile(
                f"{ref}: the manifest {self.location(ref, MANIFEST)} is damaged: {_in_a_line(error)}; "
                f"delete the artifact's folder {self.location(ref)} and run its job again: it will be made anew"
            ) from error

    def files(self, ref: ArtifactRef) -> ArtifactFiles:
        """The artifact's files. Raises StoreError if it does not exist."""
        manifest = self.manifest(ref)
        if manifest is None:
            raise StoreError(f"there is no finished artifact {ref} in {self.url}: run the job that makes it")
        return ArtifactFiles(self, manifest)

    def list(self, kind: str, prefix: str = "", unfinished: bool = False) -> list[ArtifactRef]:
        """Artifacts of a kind whose id starts with `prefix`, in order of id: only those that have a manifest.

        `unfinished`: also what has none, as a killed process leaves it.
        """
        refs = [ArtifactRef(kind, name) for name in self.backend.folders(kind) if name.startswith(prefix)]
        return [ref for ref in refs if unfinished or self.backend.size(self.key(ref, MANIFEST)) is not None]

    def delete(self, ref: ArtifactRef) -> None:
        """Removes an artifact: its manifest first, so that half of it never seems to be one, then its files."""
        self.backend.remove(self.key(ref, MANIFEST))
        self.backend.prune(self.key(ref), whole=True)

    def sweep(self, ref: ArtifactRef) -> None:
        """Removes what the manifest does not name: notes on parts, older attempts, what a killed process left.

        A newer attempt's files stay: it may be at work. Raises StoreError if there is no manifest.
        """
        files = self.files(ref)
        named = {file.path for file in files.manifest.files}
        for path in self.backend.sizes(self.key(ref)):
            head = path.split("/")[0]
            newer = head.startswith("a") and head[1:].isdigit() and int(head[1:]) > files.manifest.attempt
            if path != MANIFEST and path not in named and not newer:
                self.backend.remove(self.key(ref, path))
        self.backend.prune(self.key(ref), whole=False)

    def check(self) -> tuple[str, int | None]:
        """Writes a small file and removes it. Gives the URL and the free bytes. Raises StoreError if it cannot."""
        trial = f"check-{secrets.token_hex(8)}"
        self.backend.write(trial, b"")
        self.backend.remove(trial)
        return self.url, self.free_bytes()

    def free_bytes(self) -> int | None:
        """Bytes that the store can still take; None where that is unknown (S3)."""
        return self.backend.free_bytes()


def _in_a_line(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return ", ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}".strip() for e in error.errors())
