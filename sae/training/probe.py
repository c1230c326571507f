"""Measures, before a training run, what it will read and how fast it will be: with its own model, tokens and settings.

The run's own source reads a few steps, each SAE is trained on them, and each part is timed. Nothing is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from configs.architectures import SaeConfig
from configs.train import TrainConfig
from sae.calibration import Calibration, calibrate
from sae.formats.artifact_files import ArtifactFilesLike, ArtifactFolderLike, LocalFiles
from sae.formats.planted import open_activations
from sae.formats.tokens import TokensReader
from sae.language_model import HookPoint, LanguageModel
from sae.row_activations import activations_of_rows
from sae.training.activation_source import CacheSource, StreamSource
from sae.training.batch_plan import Plan, make_plan
from sae.training.batches import batches
from sae.training.build import TrainingRun, renamed
from sae.training.collectives import LocalCollective
from sae.training.probe_cache import write_cache
from sae.training.probe_figures import HookFigures, ProbeFigures, SaeFigures
from sae.training.sae_trainer import SaeTrainer

SECONDS = 2.0  # of each measurement: the first of its kind warms up and does not count
_MOST_ROWS = 64  # that describe hooks
_MOST_STEPS = 8  # whose batches are kept
_LEAST_TIMED, _MOST_TIMED = 4, 20

Steps = list[dict[tuple[str, ...], Tensor]]  # the batches of a few steps, by the hooks that are read


def probe_run(
    config: TrainConfig,
    model_files: ArtifactFolderLike,
    tokens_files: ArtifactFilesLike,
    device: str,
    cache_files: ArtifactFilesLike | None = None,
    seconds: float = SECONDS,
) -> ProbeFigures:
    """`cache_files`: the run's activation cache, if there is one. Raises what loading, finding hooks and reading raise."""
    began = time.perf_counter()
    model = LanguageModel.load(model_files.directory(), config.lm_dtype, device)
    loading = time.perf_counter() - began
    tokens = TokensReader(tokens_files, config.split, config.policy.speakers)
    names = {name: model.hook(name).name for name in config.hooks()}
    saes = [renamed(sae.model_copy(update={"start_from": None}), names) for sae in config.saes]
    harvest = config.harvest()
    wanted = config.hooks() if harvest is None else harvest.hooks
    hooks = sorted({point.name: point for point in map(model.hook, wanted)}.values())
    look = _look(model, tokens, hooks, config, seconds)
    own = [hook for hook in hooks if hook.name in names.values()]
    whole = make_plan(config, tokens.n_rows, tokens.context_length)
    with TemporaryDirectory() as folder:
        source = _source(
            config, whole, model, tokens, hooks, own, look.calibrations, cache_files, Path(folder), seconds
        )
        sets = tuple(sorted({sae.all_hooks() for sae in saes}))
        run = TrainingRun(source.plan, sets, (source.plan.total_steps,), source.source, {}, {}, tokens)
        steps, reading = _read_steps(run, seconds, model.device)
    positions = config.batch_rows * tokens.context_length * len(steps) * len(sets)
    return ProbeFigures(
        rows=look.rows,
        data_share=sum(len(batch) for step in steps for batch in step.values()) / positions,
        load_seconds=loading,
        calibrating=look.seconds_per_row,
        reading=reading,
        harvesting=source.harvesting,
        flops_per_token=model.matmul_flops(own, tokens.context_length),
        hooks=tuple(figures for figures in look.hooks if figures.name in names.values()),
        saes=tuple(
            _sae_figures(sae, look.calibrations, steps, whole.steps_for(sae), config, device, seconds) for sae in saes
        ),
    )


class _Source(NamedTuple):
    """Where steps are read, the plan of what is read there, and what making it took, in seconds a row."""

    source: StreamSource | CacheSource
    plan: Plan
    harvesting: float


def _source(
    config: TrainConfig,
    plan: Plan,
    model: LanguageModel,
    tokens: TokensReader,
    hooks: Sequence[HookPoint],
    own: Sequence[HookPoint],
    calibrations: Mapping[str, Calibration],
    cache_files: ArtifactFilesLike | None,
    folder: Path,
    seconds: float,
) -> _Source:
    """The language model, the cache that there is, or a small one in `folder`. SAEs read `own` of the hooks."""
    harvest, harvesting = config.harvest(), 0.0
    if harvest is None:
        source = StreamSource(model, tokens, own, calibrations, config.policy)
        return _Source(source, plan._replace(block_steps=1), harvesting)
    if cache_files is None:
        written = write_cache(folder, harvest, plan, model, tokens, hooks, calibrations, seconds)
        plan, harvesting, cache_files = _within(plan, written.rows), written.seconds_per_row, LocalFiles(folder)
    readers = {hook.name: open_activations(cache_files, hook.name) for hook in own}
    return _Source(CacheSource(readers, str(model.device)), plan, harvesting)


def _within(plan: Plan, rows: int) -> Plan:
    """The plan over the first rows alone."""
    rows = rows // plan.batch_rows * plan.batch_rows
    return plan._replace(rows=rows, epochs=1, block_steps=min(plan.block_steps, rows // plan.batch_rows))


class _Look(NamedTuple):
    rows: int
    seconds_per_row: float
    calibrations: dict[str, Calibration]
    hooks: list[HookFigures]


@torch.inference_mode()
def _look(
    model: LanguageModel, tokens: TokensReader, hooks: Sequence[HookPoint], config: TrainConfig, seconds: float
) -> _Look:
    """Calibrates on the first rows of the split, until the time is up: hook after hook, each with a pass of its own."""
    size = config.lane_rows if (harvest := config.harvest()) is None else harvest.batch_rows
    rows = min(tokens.n_rows, max(2 * size, min(_MOST_ROWS, config.policy.calibration_rows)))
    found: dict[str, list[tuple[Tensor, Tensor]]] = {hook.name: [] for hook in hooks}

    def read(start: int) -> None:
        for hook in hooks:
            values, roles = activations_of_rows(model, tokens, [hook], start, min(start + size, rows))
            found[hook.name].append((values[hook.name], roles))
        wait(model.device)

    read(0)  # warms up
    for pairs in found.values():
        pairs.clear()
    began = time.perf_counter()
    for start in range(0, rows, size):
        read(start)
        if (spent := time.perf_counter() - began) > seconds:
            break
    calibrations = {name: calibrate(name, pairs, config.policy) for name, pairs in found.items()}
    figures = [_hook_figures(hook, calibrations[hook.name]) for hook in hooks]
    read_rows = sum(len(roles) for _, roles in found[hooks[0].name])
    return _Look(read_rows, spent / read_rows, calibrations, figures)


def _hook_figures(hook: HookPoint, calibration: Calibration) -> HookFigures:
    width = len(calibration.mean)
    spread = width**0.5 / calibration.scale
    found = calibration.positions + calibration.sinks
    return HookFigures(
        hook.name,
        hook.module_path,
        hook.kind,
        width,
        float(calibration.mean.double().norm()) / spread if spread else 0.0,
        calibration.median_norm,
        calibration.sinks / found if found else 0.0,
    )


def _read_steps(run: TrainingRun, seconds: float, device: torch.device) -> tuple[Steps, float]:
    """The batches of the first steps, as the training loop gets them, and the seconds that a row took."""
    plan, collective = run.plan, LocalCollective()
    found: Steps = []
    spent, timed = 0.0, 0
    for number in count():
        block, began = number % plan.blocks, time.perf_counter()
        lanes = run.source.lanes(plan, block, range(plan.lanes))
        for index in range(len(plan.steps(block))):
            step = {
                hooks: batch
                for hooks, (_, batch) in zip(run.hooks, batches(run, plan, index, lanes, collective), strict=True)
            }
            if number < plan.blocks and len(found) < _MOST_STEPS:
                found.append(step)
        wait(device)
        if number:  # the first block warms up
            spent, timed = spent + time.perf_counter() - began, timed + len(plan.steps(block)) * plan.batch_rows
            if spent > seconds or timed >= _MOST_TIMED * plan.batch_rows:
                break
    return found, spent / timed


def _sae_figures(
    sae: SaeConfig,
    calibrations: Mapping[str, Calibration],
    steps: Steps,
    total_steps: int,
    config: TrainConfig,
    device: str,
    seconds: float,
) -> SaeFigures:
    """Trains on the batches, round and round, by the schedule of `total_steps`."""
    first, *others = (calibrations[hook] for hook in sae.all_hooks())
    total_steps = max(total_steps, _MOST_TIMED + 2)
    trainer = SaeTrainer(sae, first, total_steps, config.batch_rows, device, config.autocast == "bf16", others)
    own = [step[sae.all_hooks()] for step in steps]
    trainer.step(own[0])
    inactive = trainer.tokens_since_active >= len(own[0])
    step = _later_seconds(lambda number: trainer.step(own[number % len(own)]), seconds, trainer.device)
    measure = _later_seconds(lambda number: trainer.measure(own[number % len(own)]), seconds / 4, trainer.device)
    return SaeFigures(sae.label, step, measure, float(inactive.float().mean()))


def _later_seconds(do: Callable[[int], Any], seconds: float, device: torch.device) -> float:
    """The mean of the later half of some calls: the first steps of an SAE whose codes get sparser are its slowest."""
    taken: list[float] = []
    while len(taken) < _MOST_TIMED and (sum(taken) < seconds or len(taken) < _LEAST_TIMED):
        began = time.perf_counter()
        do(len(taken) + 1)
        wait(device)
        taken.append(time.perf_counter() - began)
    later = taken[len(taken) // 2 :]
    return sum(later) / len(later)


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
