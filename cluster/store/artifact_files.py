"""Stored files of one artifact, finished or not, as local paths that have been checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.store.cache import Cache
from cluster.store.errors import CorruptFile, StoreError, explain
from cluster.store.hashing import matches
from cluster.store.manifest import Manifest, StoredFile
from configs.artifact_ids import ArtifactRef

if TYPE_CHECKING:
    from cluster.store.store import Store


class StoredFiles:
    """Files of `ref` by logical name. A value that travels to workers: each node finds or fetches its own copy."""

    def __init__(self, store: Store, ref: ArtifactRef, files: Iterable[StoredFile]) -> None:
        self.store = store
        self.ref = ref
        self._by_name = {file.name: file for file in files}

    @property
    def names(self) -> list[str]:
        """Logical names, in the order in which the files were given."""
        return list(self._by_name)

    def path(self, name: str) -> Path:
        """Local path of a file, its SHA-256 checked at the first opening in this process.

        Raises CorruptFile for a file that has another hash than was recorded, StoreError for a name that it does not hold or
        a store that cannot be reached, StoreFull if the node's cache cannot take it.
        """
        if name not in self._by_name:
            raise StoreError(f"{self.ref} has no file {name!r}; it has {', '.join(self._by_name) or 'none'}")
        file = self._by_name[name]
        local = self.store.backend.local(self.store.key(self.ref, file.path))
        return self._fetched(file) if local is None else self._checked(file, local)

    def _checked(self, file: StoredFile, path: Path) -> Path:
        try:
            found = matches(path, file.size, file.sha256)
        except (FileNotFoundError, NotADirectoryError):
            raise self._corrupt(file, "no file at all") from None
        except OSError as error:
            raise explain("read", file.path, error, str(self.ref)) from error
        if found is not None:
            raise self._corrupt(file, found)
        return path

    def _fetched(self, file: StoredFile) -> Path:
        backend, key = self.store.backend, self.store.key(self.ref, file.path)
        try:
            path, found = self._cache().file(file.sha256, file.size, lambda sink: backend.fetch(key, sink))
        except FileNotFoundError:
            raise self._corrupt(file, "no file at all") from None
        except OSError as error:
            raise explain("fetch", key, error, str(backend)) from error
        if found != file.sha256:
            raise self._corrupt(file, found)
        return path

    def _cache(self) -> Cache:
        return Cache(self.store.cache_folder())

    def _corrupt(self, file: StoredFile, found: str) -> CorruptFile:
        return CorruptFile(
            f"{self.ref}: the file {file.name!r} ({self.store.location(self.ref, file.path)}) is damaged: expected "
            f"sha256 {file.sha256} ({file.size} bytes), found {found}; {self._advice()}"
        )

    def _advice(self) -> str:
        return "delete that file and run the job again: the part will be made anew"


class ArtifactFiles(StoredFiles):
    """The files that an artifact's manifest names."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        super().__init__(store, manifest.ref, manifest.files)
        self.manifest = manifest

    def directory(self) -> Path:
        """A local folder that holds all files under their logical names, all checked."""
        paths = {name: self.path(name) for name in self.names}
        bases = {file.path[: -len(file.name)] for file in self.manifest.files}
        if len(bases) == 1:
            own = self.store.backend.local(self.store.key(self.ref, bases.pop().rstrip("/")))
            if own is not None:
                return own
        listing = "\n".join(f"{name}\t{path.absolute()}" for name, path in paths.items())
        key = f"{self.ref}-{hashlib.sha256(listing.encode()).hexdigest()[:16]}"
        return self._cache().links(key, {name: path.absolute() for name, path in paths.items()})

    def _advice(self) -> str:
        return (
            f"delete the artifact's folder {self.store.location(self.ref)} and run the {self.manifest.stage} job again: "
            "it will be made anew"
        )
