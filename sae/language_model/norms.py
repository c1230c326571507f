"""Normalisation layers, recognised by what they compute and not by their class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_EPS_NAMES = ("eps", "variance_epsilon", "epsilon", "layer_norm_eps", "rms_norm_eps")
_USUAL_EPS = (1e-5, 1e-6, 1e-8, 1e-12)


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


def is_norm(module: nn.Module) -> bool:
    """True for a leaf whose only parameters are vectors of one length, or a norm layer without parameters."""
    if any(True for _ in module.children()):
        return False
    shapes = {tuple(p.shape) for p in module.parameters()}
    if shapes:
        return len(shapes) == 1 and len(shapes.pop()) == 1
    return "norm" in type(module).__name__.lower()


def recognise(module: nn.Module, x: Tensor, output: Tensor) -> Norm | None:
    """Finds what `module` did to turn x [..., d] into `output`; None if it is neither a LayerNorm nor an RMSNorm."""
    eps = next((float(getattr(module, n)) for n in _EPS_NAMES if isinstance(getattr(module, n, None), float)), None)
    bias = getattr(module, "bias", None)
    # A norm that does not say its eps is tried with the usual ones.
    for candidate in _USUAL_EPS if eps is None else (eps,):
        for centered, offset in ((False, 0.0), (True, 0.0), (False, 1.0), (True, 1.0)):
            norm = Norm(module, centered, offset, candidate)
            value = norm.standardise(x)
            gain = norm.gain
            value = value if gain is None else value * gain
            value = value if bias is None else value + bias.float()
            if close(value, output):
                return norm
    return None


def close(a: Tensor, b: Tensor) -> bool:
    """Equal up to the rounding of `b`'s dtype: of each value, and of the root mean square of all."""
    half = b.dtype not in (torch.float32, torch.float64)
    a, b = a.float(), b.float()
    bound = (2.0**-6 if half else 2.0**-16) * b.abs() + (1e-2 if half else 1e-4) * b.pow(2).mean().sqrt()
    return bool(torch.isfinite(b).all()) and bool(((a - b).abs() <= bound).all())
