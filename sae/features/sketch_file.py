"""A sketch as one safetensors file: what an extractor writes for a chunk, and the unit of resume."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

from sae.features.sketch import Entries, Sketch

_ARRAYS = ("counts", "moments", "maximum", "histogram_key", "histogram_count")


def partial_name(chunk: int) -> str:
    """Logical name of a chunk's partial."""
    return f"partial-{chunk:05d}.safetensors"


def save_sketch(part: Sketch, path: Path) -> None:
    """Writes a sketch."""
    tensors = {name: getattr(part, name) for name in _ARRAYS}
    tensors |= {"ident": part.entries.ident, "value": part.entries.value}
    # One key: safetensors writes several in random order.
    counts = json.dumps({"positions": part.positions, "excluded": part.excluded}, sort_keys=True)
    save_file(tensors, path, metadata={"counts": counts})


def load_sketch(path: Path) -> Sketch:
    """Reads what save_sketch wrote."""
    with safe_open(path, "np") as file:
        counts = json.loads(file.metadata()["counts"])
        arrays = {name: file.get_tensor(name) for name in _ARRAYS}
        entries = Entries(file.get_tensor("ident"), file.get_tensor("value"))
    return Sketch(positions=counts["positions"], excluded=counts["excluded"], entries=entries, **arrays)
