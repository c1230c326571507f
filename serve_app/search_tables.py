"""What a search reads of a labels artifact, in memory: vectors, labels and densities. Artifacts never change."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache, cachedmethod

from cluster.store import ArtifactFiles
from sae.formats.artifact_files import ArtifactFilesLike
from sae.formats.labels import LabelsReader
from sae.formats.search_index import read_index
from sae.labels.search_index import LONGEST

_BYTES = 512 << 20  # of vectors in memory; 100,000 features have 100 MB


class SearchTable:
    """One labels artifact. `vectors` float32 [features, 256]; `density` of each feature in the text of the labels.

    `searched` bool [features]: which have a vector, so that something is known of them.
    """

    def __init__(self, files: ArtifactFilesLike) -> None:
        reader, index = LabelsReader(files), read_index(files)
        self.vectors, self._chance = index.vectors.astype(np.float32), index.chance
        self.searched: npt.NDArray[np.bool_] = np.asarray(self.vectors.any(1))
        self.labels = reader.features()
        active = self.labels["active_explain"].to_numpy() + self.labels["active_test"].to_numpy()
        positions = reader.info.explain_positions + reader.info.test_positions
        self.density: npt.NDArray[np.float64] = active / max(1, positions)

    def chance(self, tokens: int) -> float:
        """The best cosine that 95% of queries of so many random tokens stay below."""
        return float(self._chance[min(max(tokens, 1), LONGEST) - 1])


class SearchTables:
    """The tables that were read last. Threads share it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._tables: LRUCache[Any, SearchTable] = LRUCache(_BYTES, getsizeof=lambda table: table.vectors.nbytes)

    @cachedmethod(
        lambda self: self._tables,
        key=lambda self, files: (files.ref.id, files.manifest.attempt),
        condition=lambda self: self._condition,
    )
    def get(self, files: ArtifactFiles) -> SearchTable:
        """The table of a labels artifact. Raises LabelsError."""
        return SearchTable(files)


SEARCH_TABLES = SearchTables()
