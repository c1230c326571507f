"""SAEs of other libraries, read into what ours are made of.

`sae/importers/NAME.py` defines `read(files, where, options)`; NAME is a line of `IMPORT_FORMATS` in configs/sae_formats.py.
Tensors come under SAELens' names and shapes in fp32, otherwise as they are; `config` says how SAELens would run them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from configs.sae_formats import IMPORT_FORMATS
from sae.architectures import Export


class ImportOptions(NamedTuple):
    """What a file may not say. `k`: active latents of a position; `activation_norm`: mean norm that inputs were scaled by."""

    k: int | None = None
    activation_norm: float | None = None


class ForeignSae(NamedTuple):
    """An SAE as its files have it, of one of our architectures.

    `hooks`: names of the hook that it reads, in the words of the file, the likeliest first; empty if it does not say.
    `metadata`: what else is known, under SAELens' names, and under ours in `raylens`. `notes` are for people.
    """

    architecture: str
    export: Export
    hooks: tuple[str, ...]
    metadata: dict[str, Any]
    notes: tuple[str, ...] = ()


Reader = Callable[[Mapping[str, Path], str, ImportOptions], ForeignSae]


def read_foreign(format: str, files: Mapping[str, Path], where: str, options: ImportOptions) -> ForeignSae:
    """Reads an SAE from `files`, by their names without folders. `where` is the source and folder, which may name the layer.

    Raises SaeFormatError for files that are not whole, or that hold what RayLens cannot compute.
    """
    read: Reader = import_module(f"sae.importers.{format}").read
    assert format in IMPORT_FORMATS, "the config was checked"
    return read(files, where, options)
