"""Which live jobs read which uploads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from cluster.catalog import Catalog


def upload_users(catalog: Catalog) -> dict[str, list[str]]:
    """Ids of the live jobs that read an upload, by its id."""
    found: dict[str, list[str]] = defaultdict(list)
    for row, _ in catalog.live():
        for id in set(_uploads_in(row.config)):
            found[id].append(row.id)
    return dict(found)


def _uploads_in(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if config.get("type") == "upload" and isinstance(config.get("upload"), str):
            yield config["upload"]
        for value in config.values():
            yield from _uploads_in(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _uploads_in(value)
