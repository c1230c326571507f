"""Planted activations: sparse samples and the dictionary that they are made of, in an `activations` artifact.

`dictionary.safetensors`; `planted/chunk-00000.safetensors` with samples to train on and `planted/heldout-00000.safetensors`
with others, each {count [samples], feature [m] uint16, value [m] float16}; calibration, `hooks.json` and `activations.json`
as in a cache. An activation is bias + sum of value * direction, in float32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from configs.synthesize import PLANTED_HOOK
from sae.calibration import Calibration, load_calibration
from sae.formats.activations import INFO_JSON, ActivationsReader, CachedRows
from sae.formats.artifact_files import ArtifactFilesLike
from sae.planted.dictionary import Dictionary, load_dictionary
from sae.planted.sampling import Active
from sae.sparse import Codes, decode

FORMAT = "planted"
DICTIONARY = "dictionary.safetensors"
Part = Literal["chunk", "heldout"]


def planted_chunk_name(part: Part, number: int) -> str:
    """Logical name of a chunk's file."""
    return f"{PLANTED_HOOK}/{part}-{number:05d}.safetensors"


def write_planted_chunk(path: Path, active: Active, samples: int) -> None:
    """Writes the samples of a chunk."""
    count = np.bincount(active.sample, minlength=samples)
    save_file(
        {
            "count": count.astype(np.uint16),
            "feature": active.feature.astype(np.uint16),
            "value": active.value.astype(np.float16),
        },
        path,
    )


class PlantedReader:
    """Reads planted activations by ranges of rows, as ActivationsReader does. `part`: those to train on, or held-out ones."""

    module_path = ""

    def __init__(self, files: ArtifactFilesLike, part: Part = "chunk") -> None:
        info = json.loads(files.path(INFO_JSON).read_text())
        self.hook, self.context_length = PLANTED_HOOK, int(info["context_length"])
        self.rows = int(info["rows" if part == "chunk" else "heldout_rows"])
        self.rows_per_chunk = int(info["rows_per_chunk"])
        self._files, self._part = files, part
        self.dictionary: Dictionary = load_dictionary(files.path(DICTIONARY))
        self._directions = torch.from_numpy(self.dictionary.directions)
        self._bias = torch.from_numpy(self.dictionary.bias)

    @property
    def calibration(self) -> Calibration:
        """Mean and scale of the activations; no position of theirs is a sink."""
        names = (f"{PLANTED_HOOK}/calibration.json", f"{PLANTED_HOOK}/calibration.safetensors")
        return load_calibration(*(self._files.path(name) for name in names))

    def codes(self, row_start: int, row_stop: int) -> Codes:
        """The features that fire in rows [row_start, row_stop): a latent of the codes is a planted feature."""
        return self._codes([range(row_start, row_stop)])[0]

    def activations(self, codes: Codes) -> Tensor:
        """Activations float32 [n, d] of the codes of n samples."""
        return decode(codes, self._directions) + self._bias

    def read_ranges(self, ranges: Sequence[range]) -> list[CachedRows]:
        """Activations of each range of rows, with the row and the place in the row of each."""
        found = []
        for rows, codes in zip(ranges, self._codes(ranges), strict=True):
            slot = torch.arange(len(codes.offsets))
            row, position = slot // self.context_length + rows.start, slot % self.context_length
            found.append(CachedRows(self.activations(codes), row, position))
        return found

    def _codes(self, ranges: Sequence[range]) -> list[Codes]:
        pieces: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in ranges]
        per = self.rows_per_chunk
        for rows in ranges:
            if not 0 <= rows.start <= rows.stop <= self.rows:
                raise ValueError(f"rows {rows.start} to {rows.stop} are outside the {self.rows} rows that there are")
        for index in sorted({chunk for rows in ranges for chunk in _chunks(rows, per)}):
            chunk = load_file(self._files.path(planted_chunk_name(self._part, index)))
            ends = np.concatenate([[0], np.cumsum(chunk["count"], dtype=np.int64)])
            for piece, rows in zip(pieces, ranges, strict=True):
                if index in _chunks(rows, per):
                    start, stop = max(rows.start - index * per, 0), min(rows.stop - index * per, per)
                    lo, hi = start * self.context_length, min(stop * self.context_length, len(ends) - 1)
                    part = slice(int(ends[lo]), int(ends[hi]))
                    piece.append((chunk["count"][lo:hi], chunk["feature"][part], chunk["value"][part]))
        return [_joined(piece) for piece in pieces]


def open_activations(files: ArtifactFilesLike, hook: str) -> ActivationsReader | PlantedReader:
    """The reader of one hook of an activations artifact. Raises ValueError for a hook that it does not have."""
    if json.loads(files.path(INFO_JSON).read_text()).get("format") != FORMAT:
        return ActivationsReader(files, hook)
    if hook != PLANTED_HOOK:
        raise ValueError(f"planted activations have no hook {hook}; theirs is {PLANTED_HOOK}")
    return PlantedReader(files)


def _chunks(rows: range, per: int) -> range:
    return range(rows.start // per, (rows.stop - 1) // per + 1) if len(rows) else range(0)


def _joined(pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Codes:
    count, feature, value = (
        np.concatenate([np.zeros(0, dtype), *parts])
        for dtype, parts in zip((np.int64, np.int64, np.float32), zip(*pieces, strict=True) if pieces else ([], [], []))
    )
    counts = torch.from_numpy(count.astype(np.int64))
    return Codes(
        torch.from_numpy(feature.astype(np.int64)),
        torch.from_numpy(value.astype(np.float32)),
        torch.repeat_interleave(torch.arange(len(counts)), counts),
        counts.cumsum(0) - counts,
    )
