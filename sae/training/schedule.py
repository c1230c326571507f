"""Learning-rate schedule: known at the start, because budgets are in rows."""

from __future__ import annotations

from configs.architectures import SaeConfig


def learning_rate(config: SaeConfig, step: int, total_steps: int) -> float:
    """Rate at `step` of `total_steps`: linear warm-up, a plateau, and linear decay over the last part."""
    warmup = min(1.0, (step + 1) / config.lr_warmup_steps) if config.lr_warmup_steps else 1.0
    decay_steps = config.lr_decay_fraction * total_steps
    decay = min(1.0, (total_steps - step) / decay_steps) if decay_steps else 1.0
    return config.lr * warmup * decay
