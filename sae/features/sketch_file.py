"""A sketch as one safetensors file, which names the chunks of rows that it covers: the unit of resume.

Histograms and entries are read by ranges of features, so that files of any number are merged in bounded memory. Numbers
are stored in as few bytes as hold them: an entry has 8 and a bin of a histogram 4 to 6.
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
    """Writes a sketch: of each feature how many bins and entries it has; of a bin its number, of an entry its token."""
    features, stride = np.arange(space.features + 1), space.rows * space.context_length
    token = sketch.entries.ident % stride
    first = int(token.min(initial=stride))
    tensors = {name: getattr(sketch.totals, name) for name in _TOTALS} | {
        "bins": np.diff(np.searchsorted(sketch.histograms.key, features * BINS)),
        "bin": sketch.histograms.key % BINS,
        "height": sketch.histograms.height,
        "entries": np.diff(space.bounds(sketch.entries.ident, features)),
        "token": token - first,
    }
    plain = {
        "positions": sketch.totals.positions,
        "excluded": sketch.totals.excluded,
        "stride": stride,  # of a feature's idents
        "first": first,  # token of the sketch's entries
    }
    # One key: safetensors writes several in random order.
    metadata = {"json": json.dumps(plain, sort_keys=True)}
    save_file(
        {name: _narrow(x) if name not in _TOTALS else x for name, x in tensors.items()}
        | {"value": sketch.entries.value},
        path,
        metadata=metadata,
    )


class SketchFile:
    """Reads what save_sketch wrote: `totals` at once, the rest by blocks of features (see feature_blocks)."""

    def __init__(self, path: Path) -> None:
        opened: Any = safe_open
        self._file = opened(path, "np")
        plain = json.loads(self._file.metadata()["json"])
        self.totals = Totals(plain["positions"], plain["excluded"], *(self._file.get_tensor(name) for name in _TOTALS))
        self._stride, self._first_token = plain["stride"], plain["first"]
        self._bins, self._entries = (self._file.get_tensor(name).astype(np.int64) for name in ("bins", "entries"))
        self._blocks = feature_blocks(len(self.totals.counts))

    def block(self, number: int) -> tuple[Histograms, Entries]:
        """Histograms and entries of the features of block `number`."""
        which = slice(*self._blocks[number])
        bins, entries = self._range(self._bins, which), self._range(self._entries, which)
        features = np.arange(which.start, which.stop)
        key = np.repeat(features * BINS, self._bins[which]) + self._numbers("bin", bins)
        ident = np.repeat(features * self._stride, self._entries[which]) + self._numbers("token", entries)
        return (
            Histograms(key, self._numbers("height", bins)),
            Entries(ident + self._first_token, self._file.get_slice("value")[entries]),
        )

    @staticmethod
    def _range(counts: npt.NDArray[np.int64], which: slice) -> slice:
        before = int(counts[: which.start].sum())
        return slice(before, before + int(counts[which].sum()))

    def _numbers(self, name: str, which: slice) -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = self._file.get_slice(name)[which].astype(np.int64)
        return found


def _narrow(numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Numbers that are not negative, in as few bytes as hold the largest."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
