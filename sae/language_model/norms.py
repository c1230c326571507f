"""Normalisation layers, recognised by what they compute and not by their class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sae.language_model.errors import ModelError

_EPS_NAMES = ("eps", "variance_epsilon", "epsilon", "layer_norm_eps", "rms_norm_eps")


@dataclass(frozen=True)
class Norm:
    """norm(x) = standardise(x) * gain + bias, with the mean taken out first if `centered` (LayerNorm, else RMSNorm).

    `offset` is 1 where the weight is stored less one (Gemma: gain = 1 + weight), else 0.
    """

    module: nn.Module
    centered: bool
    offset: float
    eps: float

    @property
    def gain(self) -> Tensor | None:
        """What the standardised value is multiplied by, float32 [d]; None without a weight."""
        weight = getattr(self.module, "weight", None)
        return None if weight is None else weight.detach().float() + self.offset

    def standardise(self, x: Tensor) -> Tensor:
        """TransformerLens' `hook_normalized`: (x - mean) / sqrt(variance + eps), before gain and bias. Float32."""
        x = x.float()
        if self.centered:
            x = x - x.mean(-1, keepdim=True)
        return x / (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()

    def shift(self, output: Tensor, delta: Tensor) -> Tensor:
        """The norm's output after its standardised value has moved by `delta`: exact where delta is 0."""
        gain = self.gain
        return output + (delta if gain is None else delta * gain).to(output.dtype)


def is_norm(module: nn.Module, d_model: int) -> bool:
    """True for a leaf whose only parameters are vectors of the model's width, or a norm layer without parameters."""
    if any(True for _ in module.children()):
        return False
    shapes = [tuple(p.shape) for p in module.parameters()]
    if shapes:
        return all(shape == (d_model,) for shape in shapes)
    return "norm" in type(module).__name__.lower()


def recognise(module: nn.Module, x: Tensor, output: Tensor) -> Norm:
    """Finds what `module` did to turn x [..., d] into `output`. ModelError if it is no norm that RayLens knows."""
    eps = next((float(getattr(module, n)) for n in _EPS_NAMES if isinstance(getattr(module, n, None), float)), None)
    bias = getattr(module, "bias", None)
    if eps is not None:
        for centered, offset in ((False, 0.0), (True, 0.0), (False, 1.0), (True, 1.0)):
            norm = Norm(module, centered, offset, eps)
            value = norm.standardise(x)
            gain = norm.gain
            value = value if gain is None else value * gain
            value = value if bias is None else value + bias.float()
            if close(value, output):
                return norm
    raise ModelError(
        f"{type(module).__name__} is neither a LayerNorm nor an RMSNorm as far as its outputs show, so hooks that need "
        "it are not available for this model"
    )


def close(a: Tensor, b: Tensor) -> bool:
    """Equal up to the rounding of their own dtype, measured against the larger one's root mean square."""
    tolerance = 1e-4 if b.dtype in (torch.float32, torch.float64) else 3e-2
    a, b = a.float(), b.float()
    scale = float(b.pow(2).mean().sqrt())
    return bool(torch.isfinite(b).all()) and float((a - b).abs().max()) <= tolerance * max(scale, 1e-30)
