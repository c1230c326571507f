"""Results of a chunk of rows as a file: what an evaluation that was cut off goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from sae.metrics.batch_evaluation import RowResults
from sae.metrics.loss import RowLosses
from sae.metrics.reconstruction import RowSums


def results_name(start: int) -> str:
    """Logical name of the file of the chunk that begins at row `start`."""
    return f"rows-{start:08d}.safetensors"


def save_results(results: RowResults, path: Path) -> None:
    """Writes the results of a chunk."""
    tensors = {f"sums.{name}": value for name, value in results.sums._asdict().items()}
    if results.losses is not None:
        tensors |= {f"losses.{name}": value for name, value in results.losses._asdict().items()}
    tensors["counts"] = results.counts
    plain = {"excluded": results.excluded, "unscored": results.unscored}
    # safetensors keeps bytes in memory order, so every array must be contiguous.
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    save_file(arrays, path, {"json": json.dumps(plain, sort_keys=True)})


def load_results(path: Path) -> RowResults:
    """Reads what save_results wrote."""
    with safe_open(path, framework="numpy") as file:
        plain = json.loads(file.metadata()["json"])
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def group(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}

    losses = group("losses.")
    return RowResults(
        RowSums(**group("sums.")),
        found["counts"],
        plain["excluded"],
        RowLosses(**losses) if losses else None,
        plain["unscored"],
    )
