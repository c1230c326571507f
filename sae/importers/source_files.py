"""Which files of a source are a foreign SAE: those of its format in one folder, or in the one that `part` names."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from configs.download import HubSource, LocalSource
from configs.import_ import ImportConfig
from configs.sae_formats import IMPORT_FORMATS
from sae.quoting import listed
from sae.sources import ResolvedSource, SourceError, resolve_source


class SaeFiles(NamedTuple):
    """The files, and `where` they are: the source and the folder, which may name the layer and the hook."""

    source: ResolvedSource
    where: str


def resolve_sae(config: ImportConfig) -> SaeFiles:
    """Finds the files that a config means. Raises SourceError if they are missing, or of several SAEs."""
    wanted = IMPORT_FORMATS[config.format].files
    is_file = bool(config.part) and any(PurePosixPath(config.part).match(pattern) for pattern in wanted)
    patterns = (config.part,) if is_file and "/" in config.part else tuple(_below(config.part, one) for one in wanted)
    if is_file and "/" not in config.part:
        patterns = (config.part,)
    what = "model" if isinstance(config.source, HubSource) else "SAE"  # which kind of repository it is on the hub
    if isinstance(config.source, LocalSource) and PurePosixPath(config.source.path).suffix in (".pt", ".npz"):
        patterns = ()  # the path is the file itself
    source = resolve_source(config.source.model_copy(update={"files": patterns}), what)
    folders = sorted({str(PurePosixPath(name).parent) for name in source.names})
    if len(folders) > 1 or (config.format == "qwen_scope" and len(source.names) > 1):
        parts = folders if len(folders) > 1 else source.names
        raise SourceError(f"{source.label} has {len(parts)} SAEs: name one of them in `part`, of {listed(parts, 6)}")
    base = config.source.repo if isinstance(config.source, HubSource) else _base(config, source)
    return SaeFiles(source, "/".join(one for one in (base, folders[0].removeprefix(".")) if one))


def _base(config: ImportConfig, source: ResolvedSource) -> str:
    if not isinstance(config.source, LocalSource):
        return source.label
    path = PurePosixPath(config.source.path)
    return str(path.parent if path.suffix in (".pt", ".npz") else path)


def _below(part: str, pattern: str) -> str:
    return f"{part}/{pattern}" if part else pattern
