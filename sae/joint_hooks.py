"""Activations of several hooks side by side, which a crosscoder reads and makes at once.

A crosscoder is trained as an SAE of one hook whose activations are those of all its hooks side by side, each times the scale of
its own calibration. So every hook weighs by its dimensions and not by the length of its activations, and a decoder row of length
1 has a part for each hook.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from configs.hook_names import joint_name
from sae.calibration import Calibration


def joint_calibration(parts: Sequence[Calibration]) -> Calibration:
    """The calibration of scaled activations side by side: their scale is 1.

    Norms are not compared with it, so the two that it could have are not a number: a position is data where it is at each hook.
    """
    mean = torch.cat([one.mean * one.scale for one in parts])
    hook, (first, *_) = joint_name([one.hook for one in parts]), parts
    return Calibration(hook, math.nan, math.nan, 1.0, mean, first.rows, first.positions, first.sinks)


def scale_row(parts: Sequence[Calibration]) -> Tensor:
    """What activations [n, d + d2 ...] of several hooks side by side are multiplied by: float32 [d + d2 ...]."""
    return torch.cat([torch.full((len(one.mean),), one.scale, dtype=torch.float32) for one in parts])


def on_raw(tensors: Mapping[str, Tensor], scales: Tensor) -> dict[str, Tensor]:
    """An SAE's tensors on raw activations side by side, from those on scaled ones. Values of latents stay as they are."""
    W_dec, b_dec = tensors["W_dec"] / scales, tensors["b_dec"] / scales
    return {**tensors, "W_enc": tensors["W_enc"] * scales[:, None], "W_dec": W_dec, "b_dec": b_dec}


def on_scaled(tensors: Mapping[str, Tensor], scales: Tensor) -> dict[str, Tensor]:
    """The inverse of on_raw()."""
    return on_raw(tensors, 1 / scales)


def norms_of_hooks(directions: Tensor, widths: Sequence[int]) -> Tensor:
    """Lengths [n, hooks] of the parts of directions [n, d + d2 ...] at each hook, which has so many dimensions."""
    return torch.stack([part.norm(dim=1) for part in torch.split(directions, list(widths), dim=1)], dim=1)
