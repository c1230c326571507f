"""Gated: a gate decides which latents are active, a magnitude with weights in common how much (Rajamanoharan et al. 2024).

The L1 penalty acts on the gate alone, so that it does not shrink values. What trains the gate is that penalty and the error of
a reconstruction from the gate's own pre-activations, through a decoder that gets no gradient from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from configs.architectures import GatedConfig
from sae import dense, sparse
from sae.architectures import Pass, Step
from sae.architectures.penalised_base import PenalisedSae
from sae.architectures.shallow_base import Weights, added, encoder_input, squares
from sae.linear import linear
from sae.sparse import Codes, Gradients


class Gated(PenalisedSae[GatedConfig]):
    """See the module. Parameters W_enc_t, W_dec, b_dec as ShallowSae, and b_gate, b_mag, r_mag [d_sae]."""

    def initial(self, W_dec: Tensor, b_dec: Tensor) -> dict[str, Tensor]:
        """See ShallowSae."""
        start = super().initial(W_dec, b_dec)
        zeros = start.pop("b_enc")
        return {**start, "b_gate": zeros, "b_mag": zeros.clone(), "r_mag": zeros.clone()}

    def weights(self) -> Weights:
        """See ShallowSae. The bias is that of the gate."""
        return Weights(*(self.parameters[name].detach() for name in ("W_enc_t", "b_gate", "W_dec", "b_dec")))

    def threshold(self) -> Tensor:
        """See PenalisedSae. It is the gate's."""
        return torch.zeros_like(self.parameters["b_gate"])

    def gradients(self, x: Tensor, step: Step) -> Pass:
        """See Architecture."""
        weights = self.weights()
        b_mag, growth = self.parameters["b_mag"].detach(), self.parameters["r_mag"].detach().exp()
        sides = self.sides(x, weights)
        pre = self.pre_activations(sides.input, weights)
        gates = sparse.over(pre, self.threshold())
        product = gates.value - weights.b_enc[gates.latent]
        codes = gates._replace(value=(product * growth[gates.latent] + b_mag[gates.latent]).relu_())

        residual = dense.reconstruct(codes, weights.W_dec).sub_(sides.target)
        squared_error = squares(residual)
        extra, aux = self.auxiliary(pre, sides.input, residual, weights.W_dec, step.dead)
        slope = residual.mul_(2 / residual.numel())
        entries = dense.latent_order(codes, self.config.d_sae)
        d_dec, d_value = entries.decoder(slope, weights.W_dec)
        made, slopes = dense.reconstruct_with_slopes(gates, weights.W_dec)
        d_gate = slopes((made - sides.target) * (2 / slope.numel()))[entries.order]
        d_gate = d_gate + self.penalty(self.config.l1, step, len(x))

        d_mag = d_value * (entries.value > 0)
        d_growth = d_mag * growth[entries.latent.long()]
        d_product = d_growth + d_gate
        radial = entries.sums(entries.value * d_value)
        b_gate = entries.sums(d_gate)
        found = Gradients(entries.rows(sides.input, d_product), entries.sums(d_product), d_dec, radial)
        before = found.b_enc.clone()
        self.push_up(added(found, extra), {}, pre, sides.input, step.dead)
        gradients = self.parameter_gradients(found, slope, sides.input, weights)
        gradients["b_gate"] = b_gate + gradients.pop("b_enc") - before  # dead latents are revived by their gates
        gradients["b_mag"] = entries.sums(d_mag)
        gradients["r_mag"] = entries.sums(d_growth * product[entries.order])
        return Pass(codes, gradients, squared_error, aux, slope)

    def tensors(self) -> dict[str, Tensor]:
        """See ShallowSae."""
        tensors = super().tensors()
        del tensors["b_enc"]
        return {**tensors, **{name: self.parameters[name].detach().cpu() for name in ("b_gate", "b_mag", "r_mag")}}

    def biases_less(self, tensors: dict[str, Tensor], shift: Tensor) -> dict[str, Tensor]:
        """See ShallowSae."""
        growth = tensors["r_mag"].exp()
        return {"b_gate": tensors["b_gate"] - shift, "b_mag": tensors["b_mag"] - growth * shift}

    def saelens(self) -> dict[str, Any]:
        """See ShallowSae."""
        return {"architecture": "gated"}

    @staticmethod
    def encode(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Codes:
        """See Architecture."""
        product = linear(encoder_input(tensors, config, x), tensors["W_enc"].T)
        magnitude = product * tensors["r_mag"].exp() + tensors["b_mag"]
        return sparse.above(
            magnitude.masked_fill_(product + tensors["b_gate"] <= 0, 0), torch.zeros_like(tensors["r_mag"])
        )


ARCHITECTURE = Gated
