"""Where downloads come from: the hub, this machine, an installed package. Identity first, cheaply; then the files."""

from __future__ import annotations

from configs.download import HubSource, LocalSource, PackageSource
from sae.sources.file_selection import SourceError, SourceUnreachable
from sae.sources.resolved_source import ResolvedSource

__all__ = ["ResolvedSource", "SourceError", "SourceUnreachable", "resolve_source"]


def resolve_source(source: HubSource | LocalSource | PackageSource, what: str) -> ResolvedSource:
    """Finds the files of a source and what names them: a commit, or the hashes of the files. Raises SourceError."""
    if isinstance(source, HubSource):
        from sae.sources.hub import resolve_hub

        return resolve_hub(source, what)
    from sae.sources.local import resolve_local, resolve_package

    return resolve_local(source, what) if isinstance(source, LocalSource) else resolve_package(source, what)
