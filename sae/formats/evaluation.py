"""The `evaluations` artifact: `metrics.json` and `density.parquet`.

`density.parquet` counts where each latent is active and, if other seeds were compared, holds its `stability`: the best
absolute cosine of its decoder direction in each other seed's decoder, averaged over the seeds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sae.formats.artifact_files import ArtifactFilesLike

METRICS_JSON = "metrics.json"
DENSITY_PARQUET = "density.parquet"


def write_evaluation(
    folder: Path, metrics: dict[str, Any], counts: NDArray[np.int64], stability: NDArray[np.float64] | None = None
) -> list[str]:
    """Writes both files and returns their names. counts: int64 [d_sae]; stability: [d_sae], or empty.

    A figure that is not finite is an error.
    """
    body = json.dumps(metrics, indent=2, sort_keys=True, allow_nan=False)
    (folder / METRICS_JSON).write_text(body + "\n", encoding="utf-8")
    latent = np.arange(len(counts), dtype=np.int32)
    density = counts / metrics["tokens"]
    columns = {"latent": latent, "count": counts, "density": density}
    if stability is not None and len(stability):
        columns["stability"] = stability.astype(np.float32)
    table = pa.table(columns)
    pq.write_table(table, folder / DENSITY_PARQUET, compression="zstd")
    return [METRICS_JSON, DENSITY_PARQUET]


def read_metrics(files: ArtifactFilesLike) -> dict[str, Any]:
    """The figures of an evaluation."""
    metrics: dict[str, Any] = json.loads(files.path(METRICS_JSON).read_text(encoding="utf-8"))
    return metrics


def read_counts(files: ArtifactFilesLike) -> NDArray[np.int64]:
    """Positions at which each latent is active: int64 [d_sae]."""
    counts: NDArray[np.int64] = pq.read_table(files.path(DENSITY_PARQUET), columns=["count"])["count"].to_numpy()
    return counts
