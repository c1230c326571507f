"""Results of a chunk of rows, for one SAE or several, as a file: what an evaluation that was cut off goes on from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from sae.metrics.batch_evaluation import RowResults
from sae.metrics.loss import RowLosses
from sae.metrics.pieces import Pieces
from sae.metrics.planted import PlantedCounts
from sae.metrics.reconstruction import HookSums, RowSums

_GROUPS: dict[str, Any] = {
    "sums": RowSums,
    "losses": RowLosses,
    "pieces": Pieces,
    "loss_pieces": Pieces,
    "planted": PlantedCounts,
    "hooks": HookSums,
}


def results_name(start: int) -> str:
    """Logical name of the file of the chunk that begins at row `start`."""
    return f"rows-{start:08d}.safetensors"


def save_results(results: Sequence[RowResults], path: Path) -> None:
    """Writes the results of a chunk, of each SAE."""
    arrays, plain = {}, []
    for number, one in enumerate(results):
        arrays[f"{number}.counts"] = one.counts
        for group in _GROUPS:
            if (values := getattr(one, group)) is not None:
                arrays |= {f"{number}.{group}.{name}": value for name, value in values._asdict().items()}
        plain.append({"excluded": one.excluded, "unscored": one.unscored})
    # safetensors keeps bytes in memory order, so every array must be contiguous.
    tensors = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    save_file(tensors, path, {"json": json.dumps(plain, sort_keys=True)})


def load_results(path: Path) -> list[RowResults]:
    """Reads what save_results wrote."""
    with safe_open(path, framework="numpy") as file:
        plain = json.loads(file.metadata()["json"])
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def group(number: int, name: str) -> Any:
        start = f"{number}.{name}."
        values = {key.removeprefix(start): value for key, value in found.items() if key.startswith(start)}
        return _GROUPS[name](**values) if values else None

    return [
        RowResults(counts=found[f"{number}.counts"], **one, **{name: group(number, name) for name in _GROUPS})
        for number, one in enumerate(plain)
    ]
