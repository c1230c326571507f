"""Matching pursuit: latents are chosen one after the other, each for what the ones before left over (Costa et al. 2025).

The decoder is the encoder, too. In each of k rounds the row with the largest product with the residual becomes active with that
product as its value, and is taken away from the residual. Gradients run back through all rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from configs.architectures import MatchingPursuitConfig
from sae import sparse
from sae.architectures import Export, Pass, Step
from sae.architectures.shallow_base import load_parameters, squares, unfold
from sae.calibration import Calibration
from sae.linear import linear
from sae.sparse import Codes, LatentOrder


class Rounds(NamedTuple):
    """What k rounds chose for n positions: `latent`, `value` [k, n]; `residual` [k + 1, n, d] before each and after the last."""

    latent: Tensor
    value: Tensor
    residual: Tensor


class MatchingPursuit:
    """See the module. Parameters W_dec [d_sae, d], with rows of length 1, and b_dec [d]."""

    def __init__(
        self, config: MatchingPursuitConfig, calibration: Calibration, device: str, autocast: bool, *others: Calibration
    ) -> None:
        self.config, self.calibration, self.autocast = config, calibration, autocast
        generator = torch.Generator().manual_seed(config.seed)
        W_dec = normalize(torch.randn(config.d_sae, len(calibration.mean), generator=generator), dim=1)
        start = {"W_dec": W_dec, "b_dec": calibration.mean * calibration.scale}
        self.parameters = {k: v.to(device).requires_grad_() for k, v in start.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """See Architecture."""
        scale = self.calibration.scale
        load_parameters(self.parameters, unfold(tensors, scale, scale), self.config.label)

    def start(self, x: Tensor) -> None:
        """See Architecture."""

    def gradients(self, x: Tensor, step: Step) -> Pass:
        """See Architecture."""
        W_dec = self.parameters["W_dec"].detach()
        threshold = self.config.residual_threshold * x.shape[1] ** 0.5
        k = self.config.k_at(step.number, step.total)
        rounds = pursue(x - self.parameters["b_dec"].detach(), W_dec, k, threshold, self.autocast)
        left = rounds.residual[-1]
        slope = left * (2 / left.numel())
        d_dec, d_input = _backward(rounds, slope, W_dec)
        aux = self._add_auxiliary(d_dec, left, W_dec, step.dead)
        radial = (d_dec * W_dec).sum(1, keepdim=True)
        gradients = {"W_dec": d_dec.addcmul_(W_dec, radial, value=-1), "b_dec": -d_input.sum(0)}
        return Pass(merged(rounds), gradients, squares(left), aux, -slope)

    def revive(self, dead: Tensor, directions: Tensor) -> None:
        """See Architecture."""
        self.parameters["W_dec"][dead] = directions

    def after_step(self) -> None:
        """See Architecture."""
        W_dec = self.parameters["W_dec"]
        W_dec.div_(W_dec.norm(dim=1, keepdim=True))

    def measure(self, x: Tensor) -> None:
        """See Architecture."""

    def export(self) -> Export:
        """See Architecture."""
        p, scale = {k: v.detach().cpu() for k, v in self.parameters.items()}, self.calibration.scale
        threshold = self.config.residual_threshold * len(p["b_dec"]) ** 0.5
        config = {
            "architecture": "matching_pursuit", "apply_b_dec_to_input": True, "max_iterations": self.config.k,
            "residual_threshold": threshold / scale, "stop_on_duplicate_support": False,
        }  # fmt: skip
        return Export({"W_dec": p["W_dec"], "b_dec": p["b_dec"] / scale}, config)

    @staticmethod
    def encode(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Codes:
        """See Architecture."""
        W_dec = tensors["W_dec"]
        rounds = pursue(
            x.float() - tensors["b_dec"], W_dec, config["max_iterations"], config["residual_threshold"], False
        )
        return merged(rounds)

    def _add_auxiliary(self, d_dec: Tensor, left: Tensor, W_dec: Tensor, dead: Tensor) -> Tensor:
        """Dead latents reconstruct what is left over, as in ShallowSae. It is no input of theirs: only W_dec learns from it."""
        config = self.config
        if not (config.aux_coefficient and len(dead)):
            return left.new_zeros(())
        codes = sparse.topk(linear(left, W_dec[dead]), min(config.aux_k, len(dead)))
        codes = codes._replace(latent=dead[codes.latent])
        error = sparse.decode(codes, W_dec).sub_(left)
        aux = squares(error) / error.numel()
        found = sparse.backward(codes, left, error.mul_(2 * config.aux_coefficient / error.numel()), W_dec)
        d_dec += found.W_dec
        d_dec += found.W_enc_t
        return aux


def pursue(x: Tensor, W_dec: Tensor, k: int, threshold: float, autocast: bool) -> Rounds:
    """k rounds on centred x [n, d]. A position whose residual is shorter than `threshold` chooses nothing more."""
    residual = x.new_empty(k + 1, *x.shape)
    residual[0] = x
    latents, values = [], []
    rows = W_dec.bfloat16() if autocast else W_dec
    for number in range(k):
        now = residual[number]
        latent = linear(now.to(rows.dtype), rows).argmax(1)
        chosen = W_dec[latent]
        value = (now * chosen).sum(1).relu_()
        if threshold and number:
            value = value * (now.norm(dim=1) >= threshold)
        torch.addcmul(now, value[:, None], chosen, value=-1, out=residual[number + 1])
        latents.append(latent)
        values.append(value)
    return Rounds(torch.stack(latents), torch.stack(values), residual)


def merged(rounds: Rounds) -> Codes:
    """The codes, by position and latent: a latent that was chosen twice has the sum of its values."""
    k, n = rounds.latent.shape
    latent, order = rounds.latent.T.sort(dim=1, stable=True)
    value = rounds.value.T.gather(1, order)
    first = torch.ones_like(latent, dtype=torch.bool)
    first[:, 1:] = latent[:, 1:] != latent[:, :-1]
    starts = first.reshape(-1).nonzero()[:, 0]
    ones = value.new_ones(1, 1)
    zeros = torch.zeros(k * n, dtype=torch.int64, device=value.device)
    summed = embedding_bag(zeros, ones, starts, per_sample_weights=value.reshape(-1), mode="sum")[:, 0]
    keep = summed > 0
    position = starts[keep] // k
    offsets = torch.searchsorted(position, torch.arange(n, device=position.device))
    return Codes(latent.reshape(-1)[starts][keep], summed[keep], position, offsets)


def _backward(rounds: Rounds, grad: Tensor, W_dec: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of W_dec and of the input, from that of the last residual [n, d]."""
    k, n = rounds.latent.shape
    grads, slopes = grad.new_empty(k, *grad.shape), []
    for number in range(k - 1, -1, -1):
        chosen = W_dec[rounds.latent[number]]
        grads[number] = grad
        slope = -(grad * chosen).sum(1) * (rounds.value[number] > 0)
        grad = torch.addcmul(grad, slope[:, None], chosen)
        slopes.append(slope)
    latent, position = rounds.latent.reshape(-1), torch.arange(k * n, device=grad.device)
    entries = LatentOrder(Codes(latent, rounds.value.reshape(-1), position, position), len(W_dec))
    slope = torch.stack(slopes[::-1]).reshape(-1)[entries.order]
    d_dec = entries.rows(grads.view(k * n, -1), -entries.value)
    return d_dec + entries.rows(rounds.residual[:-1].reshape(k * n, -1), slope), grad


ARCHITECTURE = MatchingPursuit
