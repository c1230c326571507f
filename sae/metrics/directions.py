"""Decoders compared by direction: with one another, with themselves, and with planted features."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

Floats = NDArray[np.float32]
_ROWS = 1024


def matched_cosines(a: Tensor, b: Tensor) -> Floats:
    """Absolute cosines of rows of a [n, d] and b [m, d] matched one to one, so that their sum is largest: [min(n, m)].

    Their mean is the mean correlation coefficient (MCC); between two seeds, PW-MCC (Song et al. 2025).
    """
    cosines = (normalize(a, dim=1) @ normalize(b, dim=1).T).abs().cpu().numpy()
    found: Floats = cosines[linear_sum_assignment(cosines, maximize=True)]
    return found


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of a [n, d] the largest absolute cosine with a row of b [m, d], and that row's number: [n] each."""
    other = normalize(b, dim=1).T
    found = [(normalize(part, dim=1) @ other).abs().max(dim=1) for part in torch.split(a, _ROWS)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def nearest_of_own(a: Tensor) -> Tensor:
    """For each row of a [n, d] the largest cosine with another row of a: [n]; -1 for a single one."""
    unit = normalize(a, dim=1)
    found = []
    for start in range(0, len(a), _ROWS):
        cosines = unit[start : start + _ROWS] @ unit.T
        own = torch.arange(len(cosines))
        cosines[own, own + start] = -1
        found.append(cosines.amax(dim=1))
    return torch.cat(found)


def random_directions(n: int, d: int, seed: int = 0) -> Tensor:
    """n random unit rows: what matching gives without any learning."""
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)
