"""What an SAE of another library does to each activation before it is encoded, and undoes of its reconstruction.

SAELens' names, in `normalize_activations` of cfg.json. SAEs that are trained here have none: one scale for all activations is
folded into their weights. `layer_norm`: minus the mean over dimensions, over the standard deviation. `constant_norm_rescale`:
scaled to the length sqrt(d). `centred`: minus the mean over dimensions, for SAEs of models that TransformerLens loaded with
`center_writing_weights`, whose residual stream has no mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

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


def normalisation_of(config: Mapping[str, Any]) -> str:
    """What an SAE with this cfg.json does to its input: one of NORMALISATIONS, or `centred`."""
    kind = str(config.get("normalize_activations") or "none")
    loaded = config.get("metadata", {}).get("model_from_pretrained_kwargs") or {}
    return "centred" if kind == "none" and loaded.get("center_writing_weights") else kind


def normalise(kind: str, x: Tensor) -> Normalised | None:
    """Raw activations x [n, d], normalised; None if `kind` is `none`."""
    if kind == "none":
        return None
    shift = x.mean(dim=1, keepdim=True)
    centred = x - shift
    if kind == "centred":
        return Normalised(centred, torch.ones_like(shift), shift)
    if kind == "layer_norm":
        deviation = centred.std(dim=1, keepdim=True)
        return Normalised(centred / (deviation + _EPSILON), deviation, shift)
    length = x.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny) / x.shape[1] ** 0.5
    return Normalised(x / length, length, torch.zeros_like(length))
