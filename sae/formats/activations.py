"""The activation cache: safetensors chunks {acts [n, d], row [n], position [n]} of data positions only.

One file for each hook and chunk of rows, `HOOK/chunk-00000.safetensors`, beside `HOOK/calibration.{json,safetensors}`
and `activations.json` {rows, rows_per_chunk, context_length, dtype, positions} and `hooks.json` {names: requested name ->
stored name, module_paths: stored name -> module of the language model}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sae.calibration import Calibration, load_calibration
from sae.formats.artifact_files import ArtifactFilesLike

INFO_JSON = "activations.json"
HOOKS_JSON = "hooks.json"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class CachedRows(NamedTuple):
    """Data positions of a range of rows: acts float32 [n, d], row int64 [n] and position int64 [n], in order."""

    acts: Tensor
    row: Tensor
    position: Tensor


def chunk_name(hook: str, chunk: int) -> str:
    """Logical name of a chunk's file."""
    return f"{hook}/chunk-{chunk:05d}.safetensors"


def write_chunk(path: Path, acts: Tensor, mask: Tensor, first_row: int, dtype: str) -> int:
    """Writes the data positions (mask [n, L]) of acts [n, L, d]; returns how many. Rows count from `first_row`."""
    row, position = mask.nonzero(as_tuple=True)
    tensors = {
        "acts": acts[mask].to(DTYPES[dtype]).cpu().contiguous(),
        "row": (row + first_row).to(torch.int32).cpu(),
        "position": position.to(torch.int32).cpu(),
    }
    if not bool(torch.isfinite(tensors["acts"]).all()):
        raise ValueError(f"activations of rows from {first_row} do not fit into {dtype}; use dtype bf16 or fp32")
    save_file(tensors, path)
    return len(row)


class ActivationsReader:
    """Reads one hook of a cache by ranges of rows. Holds nothing between calls."""

    def __init__(self, files: ArtifactFilesLike, hook: str) -> None:
        info = json.loads(files.path(INFO_JSON).read_text())
        hooks = json.loads(files.path(HOOKS_JSON).read_text())
        stored = hooks["names"].get(hook, hook)
        if stored not in hooks["module_paths"]:
            raise ValueError(f"the cache has no hook {hook}; it has {', '.join(hooks['module_paths'])}")
        self.module_path: str = hooks["module_paths"][stored]
        self.hook, self.rows, self.context_length = stored, int(info["rows"]), int(info["context_length"])
        self.rows_per_chunk = int(info["rows_per_chunk"])
        self._files = files

    @property
    def calibration(self) -> Calibration:
        """The calibration that decided which positions are in the cache."""
        names = (f"{self.hook}/calibration.json", f"{self.hook}/calibration.safetensors")
        return load_calibration(*(self._files.path(name) for name in names))

    def read(self, row_start: int, row_stop: int) -> CachedRows:
        """Data positions of rows [row_start, row_stop), ordered by row and position."""
        return self.read_ranges([range(row_start, row_stop)])[0]

    def read_ranges(self, ranges: Sequence[range]) -> list[CachedRows]:
        """Data positions of each range of rows. Every chunk is opened once, and only the rows of the ranges are read."""
        pieces: list[list[CachedRows]] = [[] for _ in ranges]
        for index in sorted({chunk for rows in ranges for chunk in self._chunks(rows)}):
            wanted = [number for number, rows in enumerate(ranges) if index in self._chunks(rows)]
            with safe_open(self._files.path(chunk_name(self.hook, index)), framework="pt") as chunk:
                acts, row, position = chunk.get_slice("acts"), chunk.get_tensor("row"), chunk.get_tensor("position")
                for number in wanted:
                    bounds = torch.tensor([ranges[number].start, ranges[number].stop], dtype=row.dtype)
                    lo, hi = (int(v) for v in torch.searchsorted(row, bounds))
                    piece = CachedRows(acts[lo:hi].float(), row[lo:hi].long(), position[lo:hi].long())
                    pieces[number].append(piece)
        return [CachedRows(*(torch.cat(fields) for fields in zip(*piece, strict=True))) for piece in pieces]

    def _chunks(self, rows: range) -> range:
        if not 0 <= rows.start <= rows.stop <= self.rows:
            raise ValueError(f"rows {rows.start} to {rows.stop} are outside the cache's {self.rows} rows")
        per = self.rows_per_chunk
        return range(rows.start // per, (max(rows.stop, rows.start + 1) - 1) // per + 1)
