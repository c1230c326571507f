"""The planted dictionary: directions of the features, and everything that decides when and how strongly they fire."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from configs.synthesize import SynthesizeConfig
from sae.planted import forest
from sae.planted.uniform import Draws, normal_quantile

_DIRECTIONS, _BIAS, _FACTORS, _MAGNITUDES = range(4)  # streams of random numbers; samples have those from _SAMPLES on
SAMPLES = 4
_LR = 0.01


class Dictionary(NamedTuple):
    """F planted features in d dimensions.

    directions float32 [F, d], of length 1. bias float32 [d]. `probability` [F]: with which each should fire. A feature
    without a parent, or whose parent is active, is drawn where factor . common + noise * normal > threshold, with `common` [r]
    the sample's: factor [F, r], noise [F], threshold [F], float64. Its magnitude has `mean` and `deviation` [F]. parent [F].
    """

    directions: NDArray[np.float32]
    bias: NDArray[np.float32]
    probability: NDArray[np.float64]
    factor: NDArray[np.float64]
    noise: NDArray[np.float64]
    threshold: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    parent: NDArray[np.int64]


def make_dictionary(config: SynthesizeConfig) -> Dictionary:
    """The dictionary of a config: a function of the config alone."""
    n, d, rank = config.features, config.d, config.correlation_rank
    start = torch.from_numpy(Draws(config.seed, _DIRECTIONS).normal(n * d).reshape(n, d)).float()
    bias = Draws(config.seed, _BIAS).normal(d)
    factor = config.correlation_scale * Draws(config.seed, _FACTORS).normal(n * rank).reshape(n, rank)
    # The factors' share of a feature's variance stays below 1.
    share = np.square(factor).sum(axis=1, keepdims=True)
    factor *= np.sqrt(np.minimum(1, 0.99 / np.maximum(share, 1e-300)))
    parent = forest.parents(config)
    probability = forest.firing_probabilities(config)
    drawn = forest.drawn_probabilities(probability, parent, config.exclusive)
    spread = config.magnitude_deviation_spread * Draws(config.seed, _MAGNITUDES).normal(n)
    return Dictionary(
        directions=spread_out(start, config.orthogonal_steps).numpy(),
        bias=(config.bias * bias / np.linalg.norm(bias)).astype(np.float32),
        probability=probability,
        factor=factor,
        noise=np.sqrt(1 - np.square(factor).sum(axis=1)),
        threshold=-normal_quantile(drawn),
        mean=np.linspace(config.first_magnitude, config.last_magnitude, n),
        deviation=np.abs(config.magnitude_deviation + spread),
        parent=parent,
    )


def spread_out(rows: torch.Tensor, steps: int) -> torch.Tensor:
    """Rows [n, d] of length 1, after `steps` of Adam on the sum of squared overlaps of all pairs.

    With S the rows' second moment, the sum is that of S's squared entries less the rows' own lengths to the fourth: a step
    takes n d^2 operations, not n^2 d.
    """
    rows = torch.nn.functional.normalize(rows, dim=1)
    optimizer = torch.optim.Adam([rows], lr=_LR)
    for _ in range(steps):
        square = rows.square().sum(1, keepdim=True)
        pull = rows @ (rows.T @ rows) - square * rows
        rows.grad = 4 * (pull + len(rows) * (square - 1) * rows)
        optimizer.step()
    return torch.nn.functional.normalize(rows, dim=1)


def save_dictionary(dictionary: Dictionary, path: Path) -> None:
    """Writes a dictionary as safetensors, one tensor a field."""
    save_file({name: np.ascontiguousarray(value) for name, value in dictionary._asdict().items()}, path)


def load_dictionary(path: Path) -> Dictionary:
    """Reads what save_dictionary wrote."""
    return Dictionary(**load_file(path))
