"""Puts a training run together from artifacts: model, tokens, cache, calibrations, and the SAEs of this worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from configs.architectures import SaeConfig
from configs.data_positions import DataPolicy
from configs.train import EarlyStopConfig, TrainConfig
from sae.calibration import Calibration, calibrate, candidate_mask
from sae.formats.artifact_files import ArtifactFilesLike, ArtifactFolderLike
from sae.formats.planted import open_activations
from sae.formats.tokens import OTHER_SPEAKER, Role, TokensReader
from sae.language_model import HookPoint, LanguageModel
from sae.row_activations import calibration_batches
from sae.training.activation_source import CacheSource, Source, StreamSource
from sae.training.batch_plan import Plan, make_plan
from sae.training.collectives import Collective
from sae.training.initial_weights import initial_tensors
from sae.training.sae_trainer import SaeTrainer

_ROWS = 1024


class TrainingRun(NamedTuple):
    """Everything that loop.train() needs. `trainers` are this worker's, by their SAE's number in the config.

    `hooks`: the sets of hooks that SAEs of the run read, each once, in a fixed order. `ends`: the numbers of steps that SAEs of
    the run are trained for, each once.
    """

    plan: Plan
    hooks: tuple[tuple[str, ...], ...]
    ends: tuple[int, ...]
    source: Source
    trainers: dict[int, SaeTrainer]
    module_paths: dict[str, str]
    tokens: TokensReader | None  # None: planted activations, whose positions are all data
    early_stop: EarlyStopConfig | None = None


def count_excluded_by_role(run: TrainingRun, policy: DataPolicy, steps: int) -> dict[str, int]:
    """Positions of the first `steps` steps that no SAE is trained on because of their role, by role. Reads each row once."""
    plan = run.plan
    counts = {role.name.lower(): 0 for role in Role if role is not Role.DATA}
    if run.tokens is None:
        return counts
    block = plan.block_of(steps - 1)
    whole = steps if steps == plan.steps(block).stop else plan.steps(block).start
    epochs, rest = divmod(whole * plan.batch_rows, plan.rows)
    for start, stop, times in ((0, rest, epochs + 1), (rest, plan.rows, epochs)):
        for first in range(start, stop if times else start, _ROWS):
            _add_excluded(counts, _roles(run.tokens, range(first, min(first + _ROWS, stop))), policy, times)
    if whole < steps:  # positions of a block are dealt out to its steps
        for lane in range(plan.lanes):
            batches = plan.lane_batches(block, lane)
            roles = torch.cat([_roles(run.tokens, rows).flatten() for rows in batches])[plan.permutation(block, lane)]
            _add_excluded(counts, roles[: (steps - whole) * len(roles) // len(batches)], policy, 1)
    return counts


def _roles(tokens: TokensReader, rows: range) -> Tensor:
    return torch.from_numpy(tokens.read(rows.start, rows.stop).roles)


def _add_excluded(counts: dict[str, int], roles: Tensor, policy: DataPolicy, times: int) -> None:
    out = ~candidate_mask(roles, policy)
    for role in Role:
        if role is not Role.DATA:
            counts[role.name.lower()] += times * int(((roles == int(role)) & out).sum())
    if policy.speakers:
        others = times * int((roles == OTHER_SPEAKER).sum())
        counts["other_speaker"] = counts.get("other_speaker", 0) + others


def count_positions(run: TrainingRun, by_role: dict[str, int], data: int, steps: int) -> dict[str, Any]:
    """Positions of the first `steps` steps: `slots`, the `data` that an SAE was trained on, and the `excluded`, by reason.

    What is neither data nor excluded by its role is a sink.
    """
    slots = steps * run.plan.batch_rows * run.plan.context_length
    excluded = {**by_role, "sink": slots - data - sum(by_role.values())}
    return {"slots": slots, "data": data, "excluded": excluded}


def build_run(
    config: TrainConfig,
    numbers: list[int],
    model_files: ArtifactFolderLike | None,
    tokens_files: ArtifactFilesLike | None,
    cache_files: ArtifactFilesLike | None,
    collective: Collective,
    device: str,
    initial: Mapping[str, ArtifactFolderLike] | None = None,
) -> TrainingRun:
    """Builds the run of the SAEs `numbers` of `config`; SAE j of them belongs to worker j mod workers.

    With `cache_files` no language model is loaded; if they are planted, there are neither model nor tokens. `initial`: the
    folders of the SAEs that some of them start from, by their ids.
    """
    tokens = None if tokens_files is None else TokensReader(tokens_files, config.split, config.policy.speakers)
    wanted = sorted({hook for i in numbers for hook in config.saes[i].all_hooks()})
    source: Source
    if cache_files is not None:
        readers = {name: open_activations(cache_files, name) for name in wanted}
        names = {name: reader.hook for name, reader in readers.items()}
        paths = {reader.hook: reader.module_path for reader in readers.values()}
        length = next(iter(readers.values())).context_length
        plan = make_plan(config, min(r.rows for r in readers.values()), length)
        calibrations = {reader.hook: reader.calibration for reader in readers.values()}
        source = CacheSource({reader.hook: reader for reader in readers.values()}, device)
    else:
        assert model_files is not None and tokens is not None, "a run without a cache has both"
        plan = make_plan(config, tokens.n_rows, tokens.context_length)
        model = LanguageModel.load(model_files.directory(), config.lm_dtype, device)
        points = {name: model.hook(name) for name in wanted}
        names = {name: point.name for name, point in points.items()}
        paths = {point.name: point.module_path for point in points.values()}
        measured = _calibrations(config, model, tokens, list(points.values())) if collective.rank == 0 else {}
        calibrations = collective.broadcast(measured)
        source = StreamSource(model, tokens, points.values(), calibrations, config.policy)
    saes = {i: renamed(config.saes[i], names) for i in numbers}
    trainers = {}
    for i in numbers[collective.rank :: collective.workers]:
        first, *others = (calibrations[hook] for hook in saes[i].all_hooks())
        start = saes[i].start_from
        tensors = None if start is None else initial_tensors((initial or {})[start], saes[i])
        trainers[i] = SaeTrainer(
            saes[i], first, plan.steps_for(saes[i]), plan.batch_rows, device, config.autocast == "bf16", others, tensors
        )
    hooks = tuple(sorted({sae.all_hooks() for sae in saes.values()}))
    ends = sorted({plan.steps_for(sae) for sae in saes.values()})
    return TrainingRun(plan, hooks, tuple(ends), source, trainers, paths, tokens, config.early_stop)


def renamed(sae: SaeConfig, names: Mapping[str, str]) -> SaeConfig:
    """The config with hooks under the names that the language model has for them. Raises ValueError for two of one hook."""
    seen: dict[str, str] = {}
    for hook in sae.all_hooks():
        if (first := seen.setdefault(names[hook], hook)) != hook:
            raise ValueError(f"{first} and {hook} of {sae.label} are the same hook, {names[hook]}: give each hook once")
    return sae.with_hooks(names)


def _calibrations(
    config: TrainConfig, model: LanguageModel, tokens: TokensReader, points: list[HookPoint]
) -> dict[str, Calibration]:
    rows, batch = config.policy.calibration_rows, config.lane_rows
    return {
        point.name: calibrate(point.name, calibration_batches(model, tokens, point, rows, batch), config.policy)
        for point in points
    }
