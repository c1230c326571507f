"""JumpReLU: a latent is active above a threshold of its own, which is trained (Rajamanoharan et al. 2024).

A step has no gradient, so the threshold gets one from the pre-activations within a rectangle around it. The loss penalises L0
itself (that paper), the sum of tanh(c f) (Anthropic, January 2025), or the distance of L0 from a target (Gemma Scope 2).
Adam moves a parameter by its learning rate at most, so thresholds are `threshold_rate` times their parameter, and begin where
the first batch has a chosen L0: in a short run they would not get there otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from configs.architectures import JumpReluConfig
from sae import sparse
from sae.architectures import Step
from sae.architectures.penalised_base import Entries, PenalisedSae, Slopes
from sae.architectures.shallow_base import exported_pre_activations
from sae.sparse import Codes


class JumpRelu(PenalisedSae[JumpReluConfig]):
    """See the module. The parameter `threshold` [d_sae] is in units of `threshold_rate`."""

    _has_threshold = False  # of the SAE that training starts from

    def initial(self, W_dec: Tensor, b_dec: Tensor) -> dict[str, Tensor]:
        """See ShallowSae."""
        return {**super().initial(W_dec, b_dec), "threshold": torch.zeros(len(W_dec))}

    def loadable(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """See ShallowSae."""
        found = super().loadable(tensors)
        self._has_threshold = "threshold" in found
        return {**found, "threshold": found["threshold"] / self.config.threshold_rate} if self._has_threshold else found

    def start(self, x: Tensor) -> None:
        """See Architecture."""
        if self._has_threshold:
            return
        weights = self.weights()
        pre = self.pre_activations(self.sides(x, weights).input, weights)
        wanted = max(1, round(self.config.first_l0 * len(x)))
        values = sparse.batch_topk(pre, math.ceil(self.config.first_l0)).value.sort(descending=True).values
        first = float(values[min(wanted, len(values)) - 1]) if len(values) else 0.0
        self.parameters["threshold"].fill_(first / self.config.threshold_rate)

    def threshold(self) -> Tensor:
        """See PenalisedSae."""
        return self.parameters["threshold"].detach() * self.config.threshold_rate

    def near(self, pre: Tensor) -> tuple[Codes, Tensor]:
        """See PenalisedSae. Inactive latents within the rectangle are among them."""
        threshold = self.threshold()
        codes = sparse.over(pre, threshold - self.config.bandwidth / 2)
        value = torch.where(codes.value > threshold[codes.latent], codes.value, 0)
        return codes._replace(value=value), codes.value

    def slopes(self, entries: Entries, pre: Tensor, d_value: Tensor, step: Step, positions: int) -> Slopes:
        """See PenalisedSae."""
        config, weight = self.config, self.penalty(self.config.coefficient, step, positions)
        active = entries.value > 0
        jump: Tensor | float = weight
        if config.sparsity_loss == "tanh":
            scale, jump = config.tanh_scale or 4.0, 0.0
            d_value = d_value + weight * scale * (1 - (scale * entries.value).tanh().square())
        elif config.sparsity_loss == "quadratic":
            target = config.target_l0 or 1.0
            jump = weight * 2 * (active.sum() / positions - target) / target
        threshold = self.threshold()[entries.latent.long()]
        inside = ((pre - threshold).abs() < config.bandwidth / 2) / config.bandwidth
        through = inside * (threshold * d_value + jump)
        d_pre = d_value * active
        if config.straight_through == "all":
            d_pre = d_pre + through
        return Slopes(d_pre, {"threshold": entries.sums(through) * -config.threshold_rate})

    def push_down(self, own: dict[str, Tensor], dead: Tensor, gradient: Tensor) -> None:
        """See PenalisedSae."""
        own["threshold"][dead] += gradient * self.config.threshold_rate

    def revive(self, dead: Tensor, directions: Tensor) -> None:
        """See Architecture. Thresholds become as much smaller than the others' mean as encoder rows do."""
        super().revive(dead, directions)
        threshold = self.parameters["threshold"]
        alive = torch.ones(len(threshold), dtype=torch.bool, device=dead.device)
        alive[dead] = False
        threshold[dead] = self.revived_length * float(threshold[alive].double().mean()) if bool(alive.any()) else 0.0

    def after_step(self) -> None:
        """See Architecture. A negative threshold would let negative values through."""
        super().after_step()
        self.parameters["threshold"].clamp_(min=0)

    def tensors(self) -> dict[str, Tensor]:
        """See ShallowSae."""
        return {**super().tensors(), "threshold": self.threshold().cpu()}

    def saelens(self) -> dict[str, Any]:
        """See ShallowSae."""
        return {"architecture": "jumprelu"}

    @staticmethod
    def encode(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Codes:
        """See Architecture."""
        return sparse.above(exported_pre_activations(tensors, config, x), tensors["threshold"])


ARCHITECTURE = JumpRelu
