"""Tables of features in memory, to filter, sort and page without reading files again. Artifacts never change."""

from __future__ import annotations

import threading
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache, cachedmethod

from cluster.store import ArtifactFiles
from sae.formats.features import FeaturesReader

Sort = Literal["latent", "density", "max", "mean", "count"]
_TABLES, _ORDERS = 4, 32  # kept in memory
_COLUMNS = {"latent": "feature", "count": "count", "density": "density", "sum": "sum", "max": "max"}


class Selection(NamedTuple):
    """A filter of features, and their order."""

    sort: Sort = "latent"
    descending: bool = False
    min_density: float | None = None
    max_density: float | None = None
    min_max: float | None = None
    alive: bool | None = None
    token: str | None = None


class FeatureTable:
    """The columns that lists need, of one features artifact."""

    def __init__(self, reader: FeaturesReader) -> None:
        self.info = reader.info
        table = reader.features([*_COLUMNS.values(), "promoted_tokens"])
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: table.column(stored).to_numpy() for name, stored in _COLUMNS.items()
        }
        count = self._columns["count"]
        self._columns["mean"] = np.divide(
            self._columns["sum"], count, out=np.zeros(len(count)), where=count > 0, casting="unsafe"
        )
        tokens = table.column("promoted_tokens").combine_chunks()
        self._tokens: pa.ListArray = tokens
        # A million promoted tokens have some ten thousand different texts: a filter looks at each text once.
        encoded = tokens.flatten().dictionary_encode()
        self._texts, self._text_of = encoded.dictionary, encoded.indices.to_numpy()
        self._feature_of = tokens.value_parent_indices().to_numpy()
        self._lock = threading.Lock()
        self._orders: LRUCache[Any, npt.NDArray[np.int64]] = LRUCache(_ORDERS)

    @cachedmethod(lambda self: self._orders, lock=lambda self: self._lock)
    def select(self, selection: Selection) -> npt.NDArray[np.int64]:
        """Rows of the features that match, in order; ties by latent."""
        rows = np.flatnonzero(self._mask(selection))
        values = self._columns[selection.sort][rows]
        ordered: npt.NDArray[np.int64] = rows[np.lexsort((rows, -values if selection.descending else values))]
        return ordered

    def largest(self, latent: int) -> float:
        """The largest activation of a feature; 0 if it was never active."""
        return float(self._columns["max"][latent])

    def show(self, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """The rows as JSON."""
        columns = {name: self._columns[name][rows].tolist() for name in ("latent", "count", "density", "max", "mean")}
        tokens = self._tokens.take(pa.array(rows)).to_pylist()
        return [
            {**dict(zip(columns, values, strict=True)), "promoted_tokens": promoted}
            for *values, promoted in zip(*columns.values(), tokens, strict=True)
        ]

    def _mask(self, selection: Selection) -> npt.NDArray[np.bool_]:
        density, largest = self._columns["density"], self._columns["max"]
        mask = np.ones(len(density), bool)
        if selection.min_density is not None:
            mask &= density >= selection.min_density
        if selection.max_density is not None:
            mask &= density <= selection.max_density
        if selection.min_max is not None:
            mask &= largest >= selection.min_max
        if selection.alive is not None:
            mask &= (self._columns["count"] > 0) == selection.alive
        if selection.token:
            matches = pc.match_substring(self._texts, selection.token, ignore_case=True).to_numpy(zero_copy_only=False)
            promotes = np.zeros(len(density), bool)
            promotes[self._feature_of[matches[self._text_of]]] = True
            mask &= promotes
        return mask


class FeatureTables:
    """The tables that were read last. Threads share it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._tables: LRUCache[Any, FeatureTable] = LRUCache(_TABLES)

    @cachedmethod(
        lambda self: self._tables,
        key=lambda self, files: (files.ref.id, files.manifest.attempt),
        condition=lambda self: self._condition,
    )
    def get(self, files: ArtifactFiles) -> FeatureTable:
        """The table of a features artifact. Raises FeaturesError."""
        return FeatureTable(FeaturesReader(files))


TABLES = FeatureTables()
