"""Removing artifacts: one by its id, or all intermediate ones that nothing refers to."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

from cluster.catalog import ArtifactRow, Catalog, InUse, NotFound, open_catalog
from configs.artifact_ids import KINDS, ArtifactRef, parse_ref

# Results (SAEs, evaluations, features, reports) are what people wanted: only `rm` removes them.
INTERMEDIATE = ("activations", "tokens", "datasets", "models")  # those made from others first
_DAY_S = 86_400.0
_PAGE = 1000


def rm_arguments(parser: argparse.ArgumentParser) -> None:
    """One artifact or more."""
    parser.add_argument("artifacts", nargs="+", metavar="KIND/ID", help="for example tokens/0123456789abcdef")


def gc_arguments(parser: argparse.ArgumentParser) -> None:
    """Which kinds, how old, and whether for real."""
    kinds = [kind for kind in KINDS if kind != "checkpoints"]
    parser.add_argument(
        "--kind",
        action="append",
        choices=kinds,
        help=f"only this kind; may be repeated (default: {', '.join(INTERMEDIATE)}, from which others are made)",
    )
    parser.add_argument("--days", type=float, default=1.0, help="only what was made so many days ago (default: 1)")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be removed, and what keeps the rest"
    )


def rm(given: argparse.Namespace) -> dict[str, Any]:
    """Removes artifacts from the catalog and the store. Raises InUse, which names what refers to one, NotFound."""
    from cluster.store import Store

    store, removed, freed = Store.open(), [], 0
    with open_catalog() as catalog:
        for text in given.artifacts:
            ref = parse_ref(text)
            row = catalog.artifact(ref)
            if row is None:
                raise NotFound(
                    f"there is no artifact {ref} in the catalog; what the store alone has is taken into it by "
                    "`python -m cluster reindex`"
                )
            catalog.delete_artifact(ref)
            store.delete(ref)
            removed.append(str(ref))
            freed += row.bytes
            print(f"removed {ref}, {_size(row.bytes)}", file=sys.stderr)
    return {"removed": removed, "bytes": freed}


def gc(given: argparse.Namespace) -> dict[str, Any]:
    """Removes artifacts that nothing refers to: no artifact, no live job, no name and no tag."""
    from cluster.store import Store

    store, removed, freed = Store.open(), [], 0
    gone: set[str] = set()
    with open_catalog() as catalog:
        for row in _candidates(catalog, given.kind or INTERMEDIATE, given.days):
            ref = ArtifactRef(row.kind, row.id)
            if kept := _keepers(catalog, row, gone):
                print(f"keeps {ref}: {kept}", file=sys.stderr)
                continue
            if not given.dry_run:
                try:
                    catalog.delete_artifact(ref)
                except InUse as error:  # since a moment ago
                    print(f"keeps {ref}: {error}", file=sys.stderr)
                    continue
                store.delete(ref)
            gone.add(str(ref))
            removed.append(str(ref))
            freed += row.bytes
            print(f"{'would remove' if given.dry_run else 'removed'} {ref}, {_size(row.bytes)}", file=sys.stderr)
    return {"removed": removed, "bytes": freed, "dry_run": given.dry_run}


def _candidates(catalog: Catalog, kinds: list[str] | tuple[str, ...], days: float) -> Iterator[ArtifactRow]:
    """Of the given kinds, those that are made from others first, as removing them may free their inputs."""
    before_s = time.time() - days * _DAY_S
    for kind in sorted(kinds, key=KINDS.index, reverse=True):
        before = None
        while rows := catalog.artifacts(kind, _PAGE, before=before):
            yield from (row for row in rows if row.created_at <= before_s)
            before = rows[-1].seq


def _keepers(catalog: Catalog, row: ArtifactRow, gone: set[str]) -> str:
    """What keeps an artifact; empty if nothing does, once those of `gone` are removed."""
    if row.name or row.tags:
        return f"it is named {row.name!r}" if row.name else f"it is tagged {', '.join(row.tags)}"
    referrers = [one for one in catalog.referrers(ArtifactRef(row.kind, row.id)) if one not in gone]
    return f"{', '.join(referrers[:5])}{' and more' if len(referrers) > 5 else ''} need it" if referrers else ""


def _size(number: int) -> str:
    return f"{number / 2**20:,.1f} MiB"
