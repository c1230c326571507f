"""Tables of features in memory: filtered, sorted and paged without reading files again. Artifacts never change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.store import ArtifactFiles
from sae.formats.features import FeaturesReader

Sort = Literal["feature", "density", "max", "mean", "count"]
_HELD = 4
_NUMBERS = ("feature", "count", "density", "sum", "max")


class Selection(NamedTuple):
    """Which features, and in what order."""

    sort: Sort = "feature"
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
        table = reader.features([*_NUMBERS, "promoted_tokens"])
        self._columns: dict[str, npt.NDArray[Any]] = {name: table.column(name).to_numpy() for name in _NUMBERS}
        count = self._columns["count"]
        self._columns["mean"] = np.divide(
            self._columns["sum"], count, out=np.zeros(len(count)), where=count > 0, casting="unsafe"
        )
        tokens = table.column("promoted_tokens").combine_chunks()
        self._tokens: pa.ListArray = tokens
        self._lock = threading.Lock()
        self._orders: OrderedDict[Selection, npt.NDArray[np.int64]] = OrderedDict()

    def select(self, selection: Selection) -> npt.NDArray[np.int64]:
        """Rows of the features that are wanted, in order; ties by number."""
        with self._lock:
            if selection in self._orders:
                self._orders.move_to_end(selection)
                return self._orders[selection]
        rows = np.flatnonzero(self._mask(selection))
        values = self._columns[selection.sort][rows]
        order = rows[np.lexsort((rows, -values if selection.descending else values))]
        with self._lock:
            self._orders[selection] = order
            while len(self._orders) > 32:
                self._orders.popitem(last=False)
        return order

    def show(self, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """The rows as JSON."""
        columns = {name: self._columns[name][rows].tolist() for name in ("feature", "count", "density", "max", "mean")}
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
            found = pc.match_substring(self._tokens.flatten(), selection.token, ignore_case=True).to_numpy(
                zero_copy_only=False
            )
            owners = self._tokens.value_parent_indices().to_numpy()
            mask &= np.isin(np.arange(len(density)), owners[found])
        return mask


class FeatureTables:
    """The tables that were asked for last. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, int], FeatureTable] = OrderedDict()

    def get(self, files: ArtifactFiles) -> FeatureTable:
        """The table of a features artifact. Raises FeaturesError."""
        key = (files.ref.id, files.manifest.attempt)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        table = FeatureTable(FeaturesReader(files))
        with self._lock:
            self._held[key] = table
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return table
