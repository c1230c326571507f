"""Rebuilds the catalog's artifacts from the manifests in the store, which are what exists."""

from __future__ import annotations

from typing import NamedTuple

from cluster.records import InUse, Records
from cluster.store import Store, StoreError
from configs.identity import KINDS, ArtifactRef

_PAGE = 1000


class Reindexed(NamedTuple):
    """What was found: artifacts recorded, rows taken out whose artifact is gone, and what could not be read or taken out."""

    recorded: int
    removed: int
    faults: list[str]


def reindex(records: Records, store: Store) -> Reindexed:
    """Records every finished artifact of the store, those first that others were made from.

    Rows of artifacts that are not in the store go, unless something else needs them. Raises StoreError.
    """
    seen: set[ArtifactRef] = set()
    damaged: set[ArtifactRef] = set()  # there, and to be looked at
    faults: list[str] = []
    for kind in KINDS:  # in the order in which they are made from one another
        for ref in store.list(kind) if kind != "checkpoints" else []:
            try:
                manifest = store.manifest(ref)
            except StoreError as error:
                faults.append(str(error))
                damaged.add(ref)
                continue
            if manifest is not None:
                records.record_artifact(manifest.model_dump(mode="json"))
                seen.add(ref)
    removed = 0
    for row in _rows(records):
        if row not in seen | damaged:
            try:
                records.delete_artifact(row)
                removed += 1
            except InUse as error:
                faults.append(f"{row} is not in the store, but {error}")
    return Reindexed(len(seen), removed, faults)


def _rows(records: Records) -> list[ArtifactRef]:
    """The newest first: what was made from others before those."""
    found: list[ArtifactRef] = []
    before = None
    while rows := records.artifacts(limit=_PAGE, before=before):
        found += [ArtifactRef(row.kind, row.id) for row in rows]
        before = rows[-1].seq
    return found
