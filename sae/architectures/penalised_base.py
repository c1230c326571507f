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

    revived_length = 0.2  # latents without competitors start with small values (Bricken et al. 2023)

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
        sides = self.sides(x, weights)
        pre = self.pre_activations(sides.input, weights)
        codes, pre_near = self.near(pre)
        residual = dense.reconstruct(codes, weights.W_dec).sub_(sides.target)
        squared_error = squares(residual)
        extra, aux = self.auxiliary(pre, sides.input, residual, weights.W_dec, step.dead)
        slope = residual.mul_(2 / residual.numel())
        entries = dense.latent_order(codes, self.config.d_sae)
        d_dec, d_value = entries.decoder(slope, weights.W_dec)
        radial = entries.sums(entries.value * d_value)
        slopes = self.slopes(entries, pre_near[entries.order], d_value, step, len(x))
        self.penalise_decoder(d_dec, radial, entries, weights.W_dec, step, len(x))
        found = Gradients(entries.rows(sides.input, slopes.pre), entries.sums(slopes.pre), d_dec, radial)
        own = self.push_up(added(found, extra), slopes.own, pre, sides.input, step.dead)
        gradients = {**self.parameter_gradients(found, slope, sides.input, weights), **own}
        return Pass(codes, gradients, squared_error, aux, slope)

    def penalise_decoder(
        self, d_dec: Tensor, radial: Tensor, entries: Entries, W_dec: Tensor, step: Step, positions: int
    ) -> None:
        """Adds the gradient of a penalty that depends on decoder rows, in place: `d_dec` [d_sae, d] and what lies along the rows
        of it, `radial` [d_sae]."""

    def penalty(self, coefficient: float, step: Step, positions: int) -> float:
        """Weight of one entry's penalty: a mean over positions and, like the error, over the dimensions of the output."""
        rise = step.rise(self.config.sparsity_warmup)
        return coefficient * rise / (positions * self.d_out)

    def push_up(
        self, found: Gradients, own: dict[str, Tensor], pre: Tensor, inputs: Tensor, dead: Tensor
    ) -> dict[str, Tensor]:
        """Adds the gradients of the sum of threshold - pre over dead latents below it (Anthropic, January 2025).

        The auxiliary loss reaches no latent whose pre-activations are all negative; this does. Returns `own`.
        """
        if self.config.revival_coefficient and len(dead):
            weight = self.config.revival_coefficient / (len(inputs) * self.d_out)
            below = (pre[:, dead] < self.threshold()[dead]).to(inputs)
            count = below.sum(0) * weight
            found.W_enc_t[dead] -= (below.T @ inputs) * weight
            found.b_enc[dead] -= count
            self.push_down(own, dead, count)
        return own

    def push_down(self, own: dict[str, Tensor], dead: Tensor, gradient: Tensor) -> None:
        """Adds the gradient of the dead latents' thresholds, if these are trained."""
