"""The harvester: runs the language model on a chunk of rows and writes the activations of data positions once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch

from actors.pool import worker_options
from actors.worker_setup import refuse_emulated, set_up, temporary_folder
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.harvest import HarvestConfig
from configs.requirements import Requirement
from sae.calibration import Calibration, calibrate, check_finite, count_excluded, data_mask, save_calibration
from sae.formats.activations import HOOKS_JSON, chunk_name, write_chunk
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.row_activations import activations_of_rows, calibration_batches


class HarvestTask(NamedTuple):
    """What every harvester of a job gets."""

    config: HarvestConfig
    output: ArtifactRef
    model: ArtifactRef
    tokens: ArtifactRef
    rows: int
    store: Store
    attempt: int
    requirement: Requirement


class Harvester:
    """Holds a language model and the calibrations of the job's hooks.

    Every harvester calibrates for itself: a few seconds, equal results, and nothing to hand on when one dies.
    """

    def __init__(self, task: HarvestTask) -> None:
        self._task = task
        self._loaded = False

    def _load(self) -> None:
        task = self._task
        set_up(task.requirement)
        refuse_emulated(task.requirement, task.config.lm_dtype)
        self._model = LanguageModel.load(
            task.store.files(task.model).directory(), task.config.lm_dtype, task.requirement.device
        )
        self._tokens = TokensReader(task.store.files(task.tokens), task.config.split, task.config.policy.speakers)
        self._hooks = [self._model.hook(name) for name in task.config.hooks]
        policy, batch = task.config.policy, task.config.batch_rows
        self._calibrations: dict[str, Calibration] = {}
        for hook in self._hooks:
            batches = calibration_batches(self._model, self._tokens, hook, policy.calibration_rows, batch)
            self._calibrations[hook.name] = calibrate(hook.name, batches, policy)
        self._put_calibrations()
        self._loaded = True

    def chunk(self, index: int) -> int:
        """Writes chunk `index` of every hook as parts; returns its rows."""
        if not self._loaded:
            self._load()
        config = self._task.config
        start = index * config.rows_per_chunk
        stop = min(start + config.rows_per_chunk, self._task.rows)
        values: dict[str, list[torch.Tensor]] = {hook.name: [] for hook in self._hooks}
        roles = []
        for first in range(start, stop, config.batch_rows):
            batch, batch_roles = activations_of_rows(
                self._model, self._tokens, self._hooks, first, min(first + config.batch_rows, stop)
            )
            roles.append(batch_roles)
            for name, value in batch.items():
                values[name].append(value)
        all_roles = torch.cat(roles)
        for name, parts in values.items():
            self._write(name, index, start, torch.cat(parts), all_roles)
        return stop - start

    def _write(self, hook: str, index: int, start: int, acts: torch.Tensor, roles: torch.Tensor) -> None:
        task = self._task
        norms = acts.norm(dim=-1)
        check_finite(norms, hook, start)
        calibration = self._calibrations[hook]
        mask = data_mask(roles, norms, calibration, task.config.policy)
        excluded = count_excluded(roles, norms, calibration, task.config.policy)
        with temporary_folder() as folder:
            path = Path(folder) / "chunk.safetensors"
            data = write_chunk(path, acts, mask, start, task.config.dtype)
            extra: dict[str, Any] = {"data": data, "excluded": excluded}
            task.store.put(task.output, task.attempt, chunk_name(hook, index), path, extra=extra, part=True)

    def _put_calibrations(self) -> None:
        task = self._task
        names = {name: hook.name for name, hook in zip(task.config.hooks, self._hooks, strict=True)}
        paths = {hook.name: hook.module_path for hook in self._hooks}
        with temporary_folder() as folder:
            for hook, calibration in self._calibrations.items():
                for name in save_calibration(calibration, Path(folder)):
                    task.store.put(
                        task.output, task.attempt, f"{hook}/{name}", Path(folder) / name, extra={}, part=True
                    )
            hooks = Path(folder) / HOOKS_JSON
            hooks.write_text(json.dumps({"names": names, "module_paths": paths}, indent=2, sort_keys=True) + "\n")
            task.store.put(task.output, task.attempt, HOOKS_JSON, hooks, extra={"names": names}, part=True)


def make_harvester(task: HarvestTask) -> Any:
    """Starts a harvester actor of the size that the job was granted."""
    return ray.remote(Harvester).options(**worker_options(task.requirement)).remote(task)
