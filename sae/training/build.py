"""Puts a training run together from artifacts: model, tokens, cache, calibrations, and the SAEs of this worker."""

from __future__ import annotations

from typing import NamedTuple

import torch

from configs.data_policy import DataPolicy
from configs.train import TrainConfig
from sae.activations import calibration_batches
from sae.calibration import Calibration, calibrate, candidate_mask
from sae.formats.activations import ActivationsReader
from sae.formats.files import ArtifactFilesLike, ArtifactFolderLike
from sae.formats.tokens import Role, TokensReader
from sae.language_model import HookPoint, LanguageModel
from sae.training.activation_source import CacheSource, Source, StreamSource
from sae.training.collectives import Collective
from sae.training.loop import Trainee
from sae.training.plan import Plan, make_plan
from sae.training.sae_trainer import SaeTrainer

_ROWS = 1024


class TrainingRun(NamedTuple):
    """Everything that loop.train() needs. `trainees` are this worker's, by their number in the config."""

    plan: Plan
    hooks: tuple[str, ...]
    source: Source
    trainees: dict[int, Trainee]
    module_paths: dict[str, str]
    tokens: TokensReader


def count_excluded_positions(run: TrainingRun, policy: DataPolicy, data: int) -> dict[str, int]:
    """Positions that an SAE was not trained on, by reason, if it was trained on `data` of them: all add up to all.

    Roles are counted in the tokens; what is neither data nor left out by its role is a sink.
    """
    plan = run.plan
    counts = {role.name.lower(): 0 for role in Role if role is not Role.DATA}
    for start in range(0, plan.rows, _ROWS):
        roles = torch.from_numpy(run.tokens.read(start, min(start + _ROWS, plan.rows)).roles)
        out = ~candidate_mask(roles, policy)
        for role in Role:
            if role is not Role.DATA:
                counts[role.name.lower()] += plan.epochs * int(((roles == int(role)) & out).sum())
    counts["sink"] = plan.total_steps * plan.batch_rows * plan.context_length - data - sum(counts.values())
    return counts


def build_run(
    config: TrainConfig,
    numbers: list[int],
    model_files: ArtifactFolderLike,
    tokens_files: ArtifactFilesLike,
    cache_files: ArtifactFilesLike | None,
    collective: Collective,
    device: str,
) -> TrainingRun:
    """Builds the run of the SAEs `numbers` of `config`; SAE j of them belongs to worker j mod workers.

    With `cache_files` no language model is loaded.
    """
    tokens = TokensReader(tokens_files, config.split)
    asked = sorted({config.saes[i].hook for i in numbers})
    source: Source
    if cache_files is not None:
        readers = {name: ActivationsReader(cache_files, name) for name in asked}
        names = {name: reader.hook for name, reader in readers.items()}
        paths = {reader.hook: reader.module_path for reader in readers.values()}
        plan = make_plan(config, min(r.rows for r in readers.values()), tokens.context_length)
        calibrations = {reader.hook: reader.calibration for reader in readers.values()}
        source = CacheSource({reader.hook: reader for reader in readers.values()}, device)
    else:
        plan = make_plan(config, tokens.n_rows, tokens.context_length)
        model = LanguageModel.load(model_files.directory(), config.lm_dtype, device)
        points = {name: model.hook(name) for name in asked}
        names = {name: point.name for name, point in points.items()}
        paths = {point.name: point.module_path for point in points.values()}
        found = _calibrations(config, model, tokens, list(points.values())) if collective.rank == 0 else {}
        calibrations = collective.broadcast(found)
        source = StreamSource(model, tokens, points.values(), calibrations, config.policy)
    trainees = {}
    for i in [i for j, i in enumerate(numbers) if j % collective.workers == collective.rank]:
        sae = config.saes[i].model_copy(update={"hook": names[config.saes[i].hook]})
        trainer = SaeTrainer(sae, calibrations[sae.hook], plan.total_steps, device, config.autocast == "bf16")
        trainees[i] = Trainee(trainer, [])
    return TrainingRun(plan, tuple(sorted(set(names.values()))), source, trainees, paths, tokens)


def _calibrations(
    config: TrainConfig, model: LanguageModel, tokens: TokensReader, points: list[HookPoint]
) -> dict[str, Calibration]:
    rows, batch = config.policy.calibration_rows, config.lane_rows
    return {
        point.name: calibrate(point.name, calibration_batches(model, tokens, point, rows, batch), config.policy)
        for point in points
    }
