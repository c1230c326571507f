"""A sketch as one safetensors file, which names the chunks of rows that it covers: the unit of resume.

Histograms and entries are read by ranges of features, so that files of any number are merged in bounded memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from sae.features.histogram import BINS
from sae.features.sketch import Entries, Histograms, Sketch, Space, Totals
from sae.formats.features import feature_blocks

_TOTALS = ("counts", "moments", "maximum")
_NAME = re.compile(r"^chunks-(\d+)-(\d+)\.safetensors$")


class ChunkRange(NamedTuple):
    """Chunks [first, stop) of rows."""

    first: int
    stop: int

    @property
    def file_name(self) -> str:
        """Logical name of the sketch of these chunks."""
        return f"chunks-{self.first:06d}-{self.stop:06d}.safetensors"


def covered(names: Iterable[str]) -> list[ChunkRange]:
    """Ranges of the sketch files among `names`, in order and apart: one that overlaps with another is left out.

    They overlap where a worker that had been given up stored its sketch after others had begun to replace it. The ranges
    from the first chunk on are those that reach the furthest without a gap.
    """
    ranges = sorted(ChunkRange(int(match[1]), int(match[2])) for name in names if (match := _NAME.match(name)))
    before: dict[int, ChunkRange | None] = {0: None}
    for one in ranges:
        if one.first in before:
            before.setdefault(one.stop, one)
    chain: list[ChunkRange] = []
    last = before[max(before)]
    while last is not None:
        chain.append(last)
        last = before[last.first]
    chain.reverse()
    for one in ranges:
        if one.first >= (chain[-1].stop if chain else 0):
            chain.append(one)
    return chain


def save_sketch(sketch: Sketch, space: Space, path: Path) -> None:
    """Writes a sketch."""
    edges = _edges(space.features)
    tensors = {name: getattr(sketch.totals, name) for name in _TOTALS} | {
        "key": sketch.histograms.key,
        "height": sketch.histograms.height,
        "key_bounds": np.searchsorted(sketch.histograms.key, edges * BINS),
        "ident": sketch.entries.ident,
        "value": sketch.entries.value,
        "ident_bounds": space.bounds(sketch.entries.ident, edges),
    }
    # One key: safetensors writes several in random order.
    plain = json.dumps({"positions": sketch.totals.positions, "excluded": sketch.totals.excluded}, sort_keys=True)
    save_file(tensors, path, metadata={"json": plain})


class SketchFile:
    """Reads what save_sketch wrote: `totals` at once, the rest by blocks of features (see feature_blocks)."""

    def __init__(self, path: Path) -> None:
        opened: Any = safe_open
        self._file = opened(path, "np")
        plain = json.loads(self._file.metadata()["json"])
        self.totals = Totals(plain["positions"], plain["excluded"], *(self._file.get_tensor(name) for name in _TOTALS))
        self._key_bounds = self._file.get_tensor("key_bounds")
        self._ident_bounds = self._file.get_tensor("ident_bounds")

    def block(self, number: int) -> tuple[Histograms, Entries]:
        """Histograms and entries of the features of block `number`."""
        keys = slice(*self._key_bounds[number : number + 2].tolist())
        entries = slice(*self._ident_bounds[number : number + 2].tolist())
        return (
            Histograms(self._slice("key", keys), self._slice("height", keys)),
            Entries(self._slice("ident", entries), self._slice("value", entries)),
        )

    def _slice(self, name: str, which: slice) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = self._file.get_slice(name)[which]
        return found


def _edges(features: int) -> npt.NDArray[np.int64]:
    return np.array([first for first, _ in feature_blocks(features)] + [features])
