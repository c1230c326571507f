"""What an SAE of another library does to each activation before it is encoded, and undoes of its reconstruction.

SAELens' names, in `normalize_activations` of cfg.json. SAEs that are trained here have none: one scale for all activations is
folded into their weights. `layer_norm`: minus the mean over dimensions, over the standard deviation. `constant_norm_rescale`:
scaled to the length sqrt(d).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
_EPSILON = 1e-5  # added to the standard deviation on the way in, and not on the way out


class Normalised(NamedTuple):
    """Activations [n, d] as the encoder reads them: (x - shift) / divisor. `undo` gives x's units back: x * scale + shift."""

    x: Tensor
    scale: Tensor
    shift: Tensor

    def undo(self, reconstruction: Tensor) -> Tensor:
        """A reconstruction [n, d] in the units of the raw activations."""
        return reconstruction * self.scale + self.shift


def normalise(kind: str, x: Tensor) -> Normalised | None:
    """Raw activations x [n, d], normalised; None if `kind` is `none`."""
    if kind == "none":
        return None
    if kind == "layer_norm":
        shift = x.mean(dim=1, keepdim=True)
        centred = x - shift
        deviation = centred.std(dim=1, keepdim=True)
        return Normalised(centred / (deviation + _EPSILON), deviation, shift)
    length = x.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny) / x.shape[1] ** 0.5
    return Normalised(x / length, length, torch.zeros_like(length))
