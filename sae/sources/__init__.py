"""Where downloads come from: the hub, this machine, a package, an upload. Identity first, cheaply; then the files."""

from __future__ import annotations

from configs.download import HubSource, LocalSource, Source, UploadSource
from sae.sources.file_selection import SourceError, SourceUnreachable
from sae.sources.resolved_source import ResolvedSource

__all__ = ["ResolvedSource", "SourceError", "SourceUnreachable", "resolve_source"]


def resolve_source(source: Source, what: str) -> ResolvedSource:
    """Finds the files of a source and what names them: a commit, or the hashes of the files. Raises SourceError."""
    if isinstance(source, HubSource):
        from sae.sources.hub import resolve_hub

        return resolve_hub(source, what)
    from sae.sources.local import resolve_local, resolve_package, resolve_upload

    if isinstance(source, LocalSource):
        return resolve_local(source, what)
    return resolve_upload(source, what) if isinstance(source, UploadSource) else resolve_package(source, what)
