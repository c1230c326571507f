"""A small activation cache of the first rows, written as the harvest stage does, so that making and reading it can be timed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from configs.harvest import HarvestConfig
from sae.calibration import Calibration, check_finite, data_mask, save_calibration
from sae.formats.activations import HOOKS_JSON, INFO_JSON, chunk_name, write_chunk
from sae.formats.tokens import TokensReader
from sae.language_model import HookPoint, LanguageModel
from sae.row_activations import activations_of_rows
from sae.training.batch_plan import Plan

_MOST_ROWS = 64  # beyond one step


class CacheWriting(NamedTuple):
    """Rows that were written, and seconds for each: the language model, the files and their hashes."""

    rows: int
    seconds_per_row: float


@torch.inference_mode()
def write_cache(
    folder: Path,
    config: HarvestConfig,
    plan: Plan,
    model: LanguageModel,
    tokens: TokensReader,
    hooks: Sequence[HookPoint],
    calibrations: Mapping[str, Calibration],
    seconds: float,
) -> CacheWriting:
    """Writes the chunks of the first rows into `folder`: at least one step of the plan, more until the time is up."""
    most = min(plan.rows, max(plan.batch_rows, _MOST_ROWS))
    began = time.perf_counter()
    parts: list[tuple[dict[str, Tensor], Tensor]] = []
    rows = 0
    while rows < most and (rows < plan.batch_rows or time.perf_counter() - began < seconds):
        stop = min(rows + config.batch_rows, plan.rows)
        parts.append(activations_of_rows(model, tokens, hooks, rows, stop))
        rows = stop
    roles = torch.cat([part for _, part in parts])
    for hook in hooks:
        acts = torch.cat([values[hook.name] for values, _ in parts])
        for number, start in enumerate(range(0, rows, config.rows_per_chunk)):
            chunk = slice(start, min(start + config.rows_per_chunk, rows))
            _write(
                folder / chunk_name(hook.name, number),
                acts[chunk],
                roles[chunk],
                start,
                calibrations[hook.name],
                config,
            )
    spent = time.perf_counter() - began
    _describe(folder, config, rows, tokens.context_length, hooks, calibrations)
    return CacheWriting(rows, spent / rows)


def _write(
    path: Path, acts: Tensor, roles: Tensor, first_row: int, calibration: Calibration, config: HarvestConfig
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    norms = acts.norm(dim=-1)
    check_finite(norms, calibration.hook, first_row)
    write_chunk(path, acts, data_mask(roles, norms, calibration, config.policy), first_row, config.dtype)
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def _describe(
    folder: Path,
    config: HarvestConfig,
    rows: int,
    context_length: int,
    hooks: Sequence[HookPoint],
    calibrations: Mapping[str, Calibration],
) -> None:
    info = {"rows": rows, "rows_per_chunk": config.rows_per_chunk, "context_length": context_length}
    (folder / INFO_JSON).write_text(json.dumps(info))
    paths = {hook.name: hook.module_path for hook in hooks}
    (folder / HOOKS_JSON).write_text(json.dumps({"names": {}, "module_paths": paths}))
    for hook in hooks:
        save_calibration(calibrations[hook.name], folder / hook.name)
