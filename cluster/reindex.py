"""Rebuilds the catalog's artifacts from the manifests in the store, which are what exists."""

from __future__ import annotations

from typing import NamedTuple

from cluster.catalog import Catalog, InUse
from cluster.store import Manifest, Store, StoreError
from configs.artifact_ids import ArtifactRef
from configs.stages import ARTIFACT_KINDS

_PAGE = 1000


class Reindexed(NamedTuple):
    """What was found: artifacts recorded, rows taken out whose artifact is gone, and what could not be read or taken out."""

    recorded: int
    removed: int
    faults: list[str]


class WrongStore(RuntimeError):
    """Nothing that the catalog knows is in the store: more likely another store, or one that is not mounted."""


def reindex(catalog: Catalog, store: Store, empty: bool = False) -> Reindexed:
    """Records every finished artifact of the store, those first that others were made from.

    Rows of artifacts that are not in the store are removed with their names, tags and notes, unless something else
    needs them. So a store that has none of them is refused before anything is changed, unless `empty` confirms it.
    Raises StoreError, WrongStore.
    """
    manifests: list[Manifest] = []
    damaged: set[ArtifactRef] = set()
    faults: list[str] = []
    for kind in ARTIFACT_KINDS:  # in the order in which they are made from one another
        for ref in store.list(kind):
            try:
                manifest = store.manifest(ref)
            except StoreError as error:
                faults.append(str(error))
                damaged.add(ref)
                continue
            if manifest is not None:
                manifests.append(manifest)
    there = damaged | {manifest.ref for manifest in manifests}
    known = _rows(catalog)
    if not empty:
        _check(store, known, there)
    for manifest in manifests:
        catalog.record_artifact(manifest.model_dump(mode="json"))
    removed = 0
    for row in known:
        if row not in there:
            try:
                catalog.delete_artifact(row)
                removed += 1
            except InUse as error:
                faults.append(f"{row} is not in the store, but {error}")
    return Reindexed(len(manifests), removed, faults)


def _check(store: Store, known: list[ArtifactRef], there: set[ArtifactRef]) -> None:
    advice = "If this is the right store and all of it is to be forgotten, say --empty"
    root = store.backend.local("")
    if root is not None and not root.is_dir():
        raise WrongStore(f"there is no store at {store.url}: is RAYLENS_STORE right, and is it mounted? {advice}")
    if known and there.isdisjoint(known):
        raise WrongStore(
            f"none of the {len(known)} artifacts that the catalog knows is in {store.url}: is RAYLENS_STORE right, and is "
            f"it mounted? {advice}"
        )


def _rows(catalog: Catalog) -> list[ArtifactRef]:
    """The newest first: what was made from others before those."""
    found: list[ArtifactRef] = []
    before = None
    while rows := catalog.artifacts(limit=_PAGE, before=before):
        found += [ArtifactRef(row.kind, row.id) for row in rows]
        before = rows[-1].seq
    return found
