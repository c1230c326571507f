"""Learning-rate schedule: known at the start, because budgets are in rows."""

from __future__ import annotations

import math

from configs.architectures import SaeConfig
from configs.architectures.steps import steps_of


def learning_rate(config: SaeConfig, step: int, total_steps: int) -> float:
    """Rate at `step` of `total_steps`: linear warm-up, a plateau, and decay over the last part."""
    warmup = steps_of(config.lr_warmup, total_steps)
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return config.lr * rise * _decay(config, step, total_steps)


def decay_begins(config: SaeConfig, total_steps: int) -> float:
    """The step from which on the rate decays."""
    return total_steps - steps_of(config.lr_decay, total_steps)


def _decay(config: SaeConfig, step: int, total_steps: int) -> float:
    length = steps_of(config.lr_decay, total_steps)
    left = min(1.0, (total_steps - step) / length) if length else 1.0
    return left if config.lr_decay_shape == "linear" else (1 - math.cos(math.pi * left)) / 2
