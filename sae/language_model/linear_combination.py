"""Whether one tensor is a sum of others, up to constant factors and the rounding of their dtype."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_SAMPLE = 2048  # values that are looked at first


def fit(total: Tensor, streams: Sequence[Tensor], parts: Sequence[Tensor], scaled: bool = False) -> list[float] | None:
    """Factors r with total = streams + sum of r_i parts_i, none of them 0; None if there are none.

    With `scaled` the streams have factors too, which come first. Each term has as many values as `total`.
    """
    if any(term.numel() != total.numel() for term in (*streams, *parts)):
        return None
    half = total.dtype not in (torch.float32, torch.float64)
    goal = total.reshape(-1).double()
    columns = torch.stack([term.reshape(-1).double() for term in (*streams, *parts)], dim=1)
    free = 0 if scaled else len(streams)  # columns before it have the factor 1
    step = max(1, len(goal) // _SAMPLE)
    if step > 1 and _factors(goal[::step], columns[::step], free, half) is None:
        return None
    return _factors(goal, columns, free, half)


def _factors(goal: Tensor, columns: Tensor, free: int, half: bool) -> list[float] | None:
    fixed, varied = columns[:, :free].sum(1), columns[:, free:]
    gram = varied.T @ varied
    if not bool(torch.isfinite(gram).all()) or not float(torch.linalg.cond(gram)) < 1e12:
        return None
    factors = torch.linalg.solve(gram, varied.T @ (goal - fixed))
    size = columns[:, :free].abs().sum(1) + (varied * factors).abs().sum(1)
    bound = (2.0**-6 if half else 2.0**-16) * size + (1e-2 if half else 1e-4) * goal.pow(2).mean().sqrt()
    if bool((factors.abs() < 1e-3).any()) or not bool(((fixed + varied @ factors - goal).abs() <= bound).all()):
        return None
    return [float(factor) for factor in factors]
