"""Dead latents get new weights, along what is reconstructed worst (Bricken et al. 2023, appendix)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from configs.architectures import SaeConfig
from configs.architectures.steps import Steps, steps_of
from sae.training.schedule import decay_begins


def is_resampling_step(every: Steps, done: int, config: SaeConfig, total_steps: int) -> bool:
    """Whether latents are resampled when `done` of `total_steps` are done: at each multiple, until the rate decays."""
    length = max(1, round(steps_of(every, total_steps)))
    return done % length == 0 and done < decay_begins(config, total_steps)


def worst_directions(slope: Tensor, count: int, seed: int, step: int) -> Tensor:
    """Directions [at most `count`, d] of length 1 that reconstructions of a batch lack, at different positions.

    `slope` [n, d] is the loss gradient at the reconstruction. A position is drawn with a chance that grows with the square of its
    loss; equal arguments give equal draws.
    """
    error = slope.square().sum(1).double()
    weight = (error / error.max().clamp(min=torch.finfo(torch.float64).tiny)).square()
    bits = np.random.PCG64(np.random.SeedSequence([seed, step])).random_raw(len(slope))
    uniform = (torch.from_numpy((bits >> 11).astype(np.int64)).to(slope.device) + 0.5) * 2.0**-53
    # The largest of log(u) / weight are a draw without replacement with these weights (Efraimidis and Spirakis 2006).
    order = (uniform.log() / weight).sort(descending=True, stable=True).indices[:count]
    order = order[weight[order] > 0]
    return -torch.nn.functional.normalize(slope[order], dim=1)
