"""Where downloads come from: the hub, this machine, an installed package. Identity first, cheaply; then the files."""

from __future__ import annotations

from configs.download import HubSource, LocalSource, PackageSource
from sae.sources.choose import SourceError, SourceUnreachable, format_of
from sae.sources.found import Found

__all__ = ["Found", "SourceError", "SourceUnreachable", "find", "format_of"]


def find(source: HubSource | LocalSource | PackageSource, what: str) -> Found:
    """Finds the files of a source and what names them: a commit, or the hashes of the files. Raises SourceError."""
    if isinstance(source, HubSource):
        from sae.sources.hub import find_hub

        return find_hub(source, what)
    from sae.sources.local import find_local, find_package

    return find_local(source, what) if isinstance(source, LocalSource) else find_package(source, what)
