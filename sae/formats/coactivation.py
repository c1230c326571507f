"""`coactivation.parquet` of the labels artifact: for each feature those that are active together with it.

One row a feature, in order: feature int32; count int64, its active positions; partners list<int32>, the other features with the
highest NPMI, the highest first; joint list<int64>, the positions where both are active; npmi list<float>.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sae.features.coactivation import Coactivation
from sae.features.coactivation_graph import CoactivationGraph, coactivation_graph
from sae.formats.artifact_files import ArtifactFilesLike

COACTIVATION = "coactivation.parquet"
_SCHEMA = pa.schema(
    [("feature", pa.int32()), ("count", pa.int64()), ("partners", pa.list_(pa.int32()))]
    + [("joint", pa.list_(pa.int64())), ("npmi", pa.list_(pa.float32()))]
)


class Partner(NamedTuple):
    """A feature that is active together with another: its `active` positions, the joint ones of both, and their NPMI."""

    feature: int
    active: int
    joint: int
    npmi: float


def write_coactivation(folder: Path, found: Coactivation) -> str:
    """Writes the file and returns its name. Equal counts give equal bytes."""
    offsets = pa.array(found.starts.astype(np.int32))
    lists = [pa.ListArray.from_arrays(offsets, pa.array(values)) for values in found[3:]]
    columns = [pa.array(np.arange(len(found.counts), dtype=np.int32)), pa.array(found.counts), *lists]
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    pq.write_table(table, folder / COACTIVATION, compression="zstd", row_group_size=4096)
    return COACTIVATION


def read_graph(files: ArtifactFilesLike, positions: int, most: int) -> CoactivationGraph:
    """All pairs. `positions` were counted, and at most `most` features are listed for each: labels.json says both."""
    table = pq.read_table(files.path(COACTIVATION)).combine_chunks()
    starts = np.concatenate([[0], np.cumsum(pc.list_value_length(table["partners"]).to_numpy())]).astype(np.int64)
    partner, joint, npmi = (
        pc.list_flatten(table[name]).to_numpy().astype(kind)
        for name, kind in (("partners", np.int64), ("joint", np.int64), ("npmi", np.float64))
    )
    return coactivation_graph(positions, table["count"].to_numpy(), starts, partner, joint, npmi, most)


def read_partners(files: ArtifactFilesLike, feature: int) -> tuple[int, list[Partner]]:
    """Active positions of a feature, and its partners, the highest NPMI first. Raises IndexError for no such feature."""
    path = files.path(COACTIVATION)
    counts = pq.read_table(path, columns=["count"])["count"].to_numpy()
    if not 0 <= feature < len(counts):
        raise IndexError(f"there is no feature {feature}: they are 0 to {len(counts) - 1}")
    row = pq.read_table(path, filters=[("feature", "=", feature)]).to_pylist()[0]
    entries = zip(row["partners"], row["joint"], row["npmi"], strict=True)
    return row["count"], [Partner(other, int(counts[other]), joint, npmi) for other, joint, npmi in entries]
