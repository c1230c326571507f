"""Formats in which SAEs come and go: which files each one has. A new one is a line here and a file of its name.

The files are `sae/importers/NAME.py` and `sae/exporters/NAME.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple


class ImportFormat(NamedTuple):
    """A format that is read: the library or release whose it is, and its files, by name or glob pattern."""

    title: str
    files: tuple[str, ...]


class ExportFormat(NamedTuple):
    """A format that is written. `tokens`: it holds codes of rows of tokens; `features`: it is made of a features artifact."""

    title: str
    tokens: bool = False
    features: bool = False


IMPORT_FORMATS: dict[str, ImportFormat] = {
    "saelens": ImportFormat("SAELens", ("cfg.json", "sae_weights.safetensors")),
    "sparsify": ImportFormat("sparsify", ("cfg.json", "sae.safetensors")),
    "dictionary_learning": ImportFormat("dictionary_learning", ("config.json", "ae.pt")),
    "gemma_scope": ImportFormat("Gemma Scope", ("params.npz",)),
    "qwen_scope": ImportFormat("Qwen-Scope", ("*.pt",)),
}

EXPORT_FORMATS: dict[str, ExportFormat] = {
    "saelens": ExportFormat("SAELens"),
    "sparsify": ExportFormat("sparsify"),
    "dictionary_learning": ExportFormat("dictionary_learning"),
    "delphi": ExportFormat("delphi's cache of latents", tokens=True),
    "neuronpedia": ExportFormat("Neuronpedia's upload bundle", features=True),
}

if TYPE_CHECKING:
    ImportName = str
    ExportName = str
else:
    ImportName = Literal[tuple(IMPORT_FORMATS)]
    ExportName = Literal[tuple(EXPORT_FORMATS)]
