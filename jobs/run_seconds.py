"""How long a training run takes, from what was measured of it (jobs/plan_probe.py)."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import TYPE_CHECKING

from configs.architectures import SaeConfig
from configs.harvest import HarvestConfig
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs.run_size import RunSize

if TYPE_CHECKING:
    from jobs.plan_probe import Probed
    from sae.training.probe_figures import ProbeFigures

# Seconds of starting and ending processes where a process has imported what a worker does after _IMPORT_SECONDS: they are as
# many times longer on a machine where that takes longer.
_IMPORT_SECONDS = 3.3
_CLUSTER_START, _HARVEST_START, _TRAIN_START, _TRAIN_END = 4.0, 3.0, 7.5, 1.0
# Of the steps a second that the same loop makes in a plain process (benchmarks/results/ray_overhead.md).
_WITHOUT_RAY = 0.97


def run_seconds(
    config: TrainConfig, size: RunSize, probed: Probed, requirement: Requirement, harvest: HarvestConfig | None
) -> dict[str, float]:
    """Seconds of the jobs `harvest` and `train`, of both, and of the parts of `train`."""
    probe, workers = probed.figures, requirement.workers
    slower = probed.import_seconds / _IMPORT_SECONDS
    calibrating = probe.calibrating * min(config.policy.calibration_rows, size.rows)
    parts = {
        "start": _TRAIN_START * slower + (probe.load_seconds if config.cache is None else 0.0),
        "calibration": calibrating if config.cache is None else 0.0,
        "reading": probe.reading * _rows_read(config, size) / workers / _WITHOUT_RAY,
        "steps": max(
            _sae_seconds(config, size, probe, range(rank, len(config.saes), workers)) for rank in range(workers)
        )
        / _WITHOUT_RAY,
        "end": _TRAIN_END * slower,
    }
    making = 0.0
    if harvest is not None:
        rows = harvest.rows or size.rows
        making = _HARVEST_START * slower + probe.load_seconds + calibrating + probe.harvesting * rows
    start = _CLUSTER_START * slower
    train = sum(parts.values()) + (start if harvest is None else 0.0)
    making += start if harvest is not None else 0.0
    return {"harvest": making, "train": train, "total": making + train, **parts}


def _rows_read(config: TrainConfig, size: RunSize) -> int:
    """Rows that the steps take, until the last SAE is trained, and those that are held out."""
    steps = max(_steps_of(sae, config, size) for sae in config.saes)
    return steps * config.batch_rows + (0 if config.early_stop is None else config.early_stop.rows)


def _steps_of(sae: SaeConfig, config: TrainConfig, size: RunSize) -> int:
    return size.steps if sae.train_rows is None else sae.train_rows // config.batch_rows


def _sae_seconds(config: TrainConfig, size: RunSize, probe: ProbeFigures, numbers: Iterable[int]) -> float:
    """Steps of these SAEs, the looks at held-out rows, and the last block, which is measured once more."""
    total = 0.0
    for number in numbers:
        steps, figures = _steps_of(config.saes[number], config, size), probe.saes[number]
        looks = 0.0
        if config.early_stop is not None:
            each = config.early_stop.rows / config.batch_rows
            looks = steps // (config.early_stop.every_blocks * config.block_steps) * each
        last = ceil(steps / ceil(steps / config.block_steps))  # blocks are as equal as they can be
        total += figures.seconds_per_step * (steps + looks) + figures.seconds_per_measure * last
    return total
