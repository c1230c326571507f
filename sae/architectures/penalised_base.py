"""Latents that are active above a threshold, and a loss that penalises activity: what standard, gated and JumpReLU share."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from torch import Tensor

from configs.architectures import PenalisedConfig
from sae import dense
from sae.architectures import Pass, Step
from sae.architectures.shallow_base import ShallowSae, added, squares
from sae.dense import DenseOrder
from sae.sparse import Codes, Gradients, LatentOrder

AnyPenalised = TypeVar("AnyPenalised", bound=PenalisedConfig)
Entries = LatentOrder | DenseOrder


class Slopes(NamedTuple):
    """Gradients of the pre-activation of each entry [m], and of parameters that are the architecture's own."""

    pre: Tensor
    own: dict[str, Tensor]


class PenalisedSae(ShallowSae[AnyPenalised]):
    """Subclasses give `near`, `slopes` and `threshold` beside what ShallowSae wants; nothing asks for `choose`.

    While many latents are active, products are dense; else only active latents are computed.
    """

    def near(self, pre: Tensor) -> tuple[Codes, Tensor]:
        """The entries that count in the loss or its gradient, and their pre-activations [m]; inactive ones have value 0."""
        raise NotImplementedError

    def slopes(self, entries: Entries, pre: Tensor, d_value: Tensor, step: Step, positions: int) -> Slopes:
        """From `pre` [m] and the gradient of each value in the reconstruction's error `d_value` [m], in `entries`' order."""
        raise NotImplementedError

    def threshold(self) -> Tensor:
        """What a pre-activation must exceed to be active [d_sae]."""
        raise NotImplementedError

    def gradients(self, x: Tensor, step: Step) -> Pass:
        """See Architecture."""
        weights = self.weights()
        centred = x - weights.b_dec
        pre = self.pre_activations(centred, weights)
        codes, pre_near = self.near(pre)
        residual = dense.reconstruct(codes, weights.W_dec).sub_(centred)
        squared_error = squares(residual)
        extra, aux = self.auxiliary(pre, centred, residual, weights.W_dec, step.dead)
        grad = residual.mul_(2 / residual.numel())
        entries = dense.latent_order(codes, self.config.d_sae)
        d_dec, d_value = entries.decoder(grad, weights.W_dec)
        slopes = self.slopes(entries, pre_near[entries.order], d_value, step, len(x))
        radial = entries.sums(entries.value * d_value)
        found = Gradients(entries.rows(centred, slopes.pre), entries.sums(slopes.pre), d_dec, radial)
        own = self.revive(added(found, extra), slopes.own, pre, centred, step.dead)
        return Pass(codes, {**self.parameter_gradients(found, grad.sum(0), weights), **own}, squared_error, aux)

    def penalty(self, coefficient: float, step: Step, positions: int) -> float:
        """Weight of one entry's penalty: a mean over positions and, like the error, over the d dimensions."""
        rise = step.rise(self.config.sparsity_warmup_fraction)
        return coefficient * rise / (positions * len(self.calibration.mean))

    def revive(
        self, found: Gradients, own: dict[str, Tensor], pre: Tensor, centred: Tensor, dead: Tensor
    ) -> dict[str, Tensor]:
        """Adds the gradients of the sum of threshold - pre over dead latents below it (Anthropic, January 2025).

        The auxiliary loss reaches no latent whose pre-activations are all negative; this does. Returns `own`.
        """
        if self.config.revival_coefficient and len(dead):
            weight = self.config.revival_coefficient / centred.numel()
            below = (pre[:, dead] < self.threshold()[dead]).to(centred)
            count = below.sum(0) * weight
            found.W_enc_t[dead] -= (below.T @ centred) * weight
            found.b_enc[dead] -= count
            self.revive_threshold(own, dead, count)
        return own

    def revive_threshold(self, own: dict[str, Tensor], dead: Tensor, gradient: Tensor) -> None:
        """Adds the gradient of the dead latents' thresholds, if these are trained."""
