"""`search.safetensors` of the labels artifact: a `SearchIndex` (sae.labels.search_index), its two tensors under their names."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file, save_file

from sae.formats.artifact_files import ArtifactFilesLike
from sae.labels.search_index import SearchIndex

SEARCH = "search.safetensors"


def write_index(folder: Path, index: SearchIndex) -> str:
    """Writes the file and returns its name."""
    save_file(index._asdict(), folder / SEARCH)
    return SEARCH


def read_index(files: ArtifactFilesLike) -> SearchIndex:
    """Reads the file."""
    return SearchIndex(**load_file(files.path(SEARCH)))
