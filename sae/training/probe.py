"""Measures, before a training run, what it will read and how fast it will be: with its own model, tokens and settings.

The language model reads a few batches, each SAE makes a few steps on what comes out. Nothing is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from configs.architectures import SaeConfig
from configs.train import TrainConfig
from sae.calibration import Calibration, calibrate, candidate_mask
from sae.formats.tokens import TokensReader
from sae.language_model import HookPoint, LanguageModel
from sae.row_activations import activations_of_rows
from sae.training.sae_trainer import SaeTrainer

SECONDS = 6.0  # for the language model, and for the steps of each SAE: after one warm-up, at least one measurement each
_MOST_ROWS = 64


class HookFigures(NamedTuple):
    """A hook on the probed rows. `gamma`: length of the mean over the root mean square distance from it."""

    name: str
    module_path: str
    kind: str
    width: int
    gamma: float
    median_norm: float
    sink_share: float


class SaeFigures(NamedTuple):
    """One SAE: seconds of a step, and the share of its latents that its initial weights activate on no probed position."""

    label: str
    seconds_per_step: float
    initially_inactive: float


class ProbeFigures(NamedTuple):
    """`rows` were read. `data_share`: of all positions, those that are data. Operations are of matrix products, a token."""

    rows: int
    data_share: float
    load_seconds: float
    seconds_per_row: float
    flops_per_token: float
    hooks: tuple[HookFigures, ...]
    saes: tuple[SaeFigures, ...]


def probe_run(
    config: TrainConfig, model_folder: Path, tokens: TokensReader, device: str, seconds: float = SECONDS
) -> ProbeFigures:
    """Raises what loading the model, finding the hooks and reading the tokens raise."""
    began = time.perf_counter()
    model = LanguageModel.load(model_folder, config.lm_dtype, device)
    loading = time.perf_counter() - began
    points = {name: model.hook(name) for name in config.hooks()}
    hooks = sorted({point.name: point for point in points.values()}.values())
    read = _read(model, tokens, hooks, config, seconds)
    calibrations = {
        hook.name: calibrate(hook.name, [(batch[hook.name], roles) for batch, roles in read.batches], config.policy)
        for hook in hooks
    }
    data = {name: _data(name, read.batches, calibrations[name], config) for name in calibrations}
    figures = tuple(_hook_figures(hook, calibrations[hook.name], data[hook.name]) for hook in hooks)
    size = config.batch_rows * tokens.context_length
    positions = sum(roles.numel() for _, roles in read.batches)
    share = len(next(iter(data.values()))) / positions
    saes = tuple(
        _sae_figures(sae, points, calibrations, data, round(size * share), config, device, seconds)
        for sae in config.saes
    )
    flops = model.matmul_flops(hooks, tokens.context_length)
    return ProbeFigures(read.rows, share, loading, read.seconds_per_row, flops, figures, saes)


class _Read(NamedTuple):
    rows: int
    seconds_per_row: float
    batches: list[tuple[dict[str, Tensor], Tensor]]  # activations by hook, and roles


@torch.inference_mode()
def _read(
    model: LanguageModel, tokens: TokensReader, hooks: Sequence[HookPoint], config: TrainConfig, seconds: float
) -> _Read:
    """Batches of the size that training reads, from the start of the split, until the time is up."""
    harvest = config.harvest()
    size = config.lane_rows if harvest is None else harvest.batch_rows
    rows = min(tokens.n_rows, max(2 * size, min(_MOST_ROWS, config.policy.calibration_rows)))
    batches, spent, timed = [], 0.0, 0
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        began = time.perf_counter()
        batches.append(activations_of_rows(model, tokens, hooks, start, stop))
        _wait(model.device)
        if start:  # the first pass warms up
            spent += time.perf_counter() - began
            timed += stop - start
        if spent > seconds:
            break
    if not timed:  # the split has no second batch
        began = time.perf_counter()
        activations_of_rows(model, tokens, hooks, 0, rows)
        _wait(model.device)
        spent, timed = time.perf_counter() - began, rows
    return _Read(sum(len(roles) for _, roles in batches), spent / timed, batches)


def _data(
    hook: str, batches: Sequence[tuple[dict[str, Tensor], Tensor]], calibration: Calibration, config: TrainConfig
) -> Tensor:
    """Activations [n, d] at data positions."""
    parts = []
    for values, roles in batches:
        x = values[hook]
        mask = candidate_mask(roles, config.policy)
        if not config.policy.include_sinks:
            mask = mask & (x.norm(dim=-1) <= calibration.sink_threshold)
        parts.append(x[mask])
    return torch.cat(parts)


def _hook_figures(hook: HookPoint, calibration: Calibration, data: Tensor) -> HookFigures:
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


def _sae_figures(
    sae: SaeConfig,
    points: dict[str, HookPoint],
    calibrations: dict[str, Calibration],
    data: dict[str, Tensor],
    positions: int,
    config: TrainConfig,
    device: str,
    seconds: float,
) -> SaeFigures:
    """Steps on a batch of the size that a step has, made of the probed positions over and over."""
    names = [points[hook].name for hook in sae.all_hooks()]
    own = [calibrations[name] for name in names]
    least = min(len(data[name]) for name in names)
    at = torch.arange(max(1, positions)) % least
    batch = torch.cat([data[name][:least] for name in names], dim=1)[at.to(device)]
    trainer = SaeTrainer(
        sae.model_copy(update={"start_from": None}),
        own[0],
        1000,
        config.batch_rows,
        device,
        config.autocast == "bf16",
        own[1:],
    )
    trainer.step(batch)
    active = trainer.tokens_since_active < len(batch)
    spent = _median_seconds(lambda: trainer.step(batch), seconds, torch.device(device))
    return SaeFigures(sae.label, spent, 1 - float(active.float().mean()))


def _median_seconds(do: Callable[[], Any], seconds: float, device: torch.device) -> float:
    taken: list[float] = []
    while not taken or (sum(taken) < seconds and len(taken) < 20):
        began = time.perf_counter()
        do()
        _wait(device)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
