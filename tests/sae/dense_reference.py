"""The losses of all architectures, written densely for autograd. Nothing of sae.architectures or sae.sparse is used here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


class _Jump(torch.autograd.Function):
    """pre where it is above the threshold; the threshold's gradient comes through a rectangle, that of `pre` if `to_pre`."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float, to_pre: bool, step: bool) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.settings = bandwidth, to_pre, step
        active = (pre > threshold).to(pre)
        return active if step else pre * active

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        pre, threshold = ctx.saved_tensors
        bandwidth, to_pre, step = ctx.settings
        rectangle = ((pre - threshold).abs() < bandwidth / 2).to(pre) / bandwidth
        through = rectangle * grad * (1 if step else threshold)
        direct = torch.zeros_like(pre) if step else grad * (pre > threshold)
        return direct + (through if to_pre else 0), -through.sum(0), None, None, None


def _largest(pre: Tensor, k: int, whole: bool = False) -> Tensor:
    """pre where it is among the k largest of its position, or of the whole batch on average, and positive; else 0."""
    flat = pre.reshape(1, -1) if whole else pre
    index = flat.topk(k * len(pre) if whole else k, dim=1).indices
    mask = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, index, True).view_as(pre)
    return pre.relu() * mask


def _mse(error: Tensor) -> Tensor:
    return error.square().mean()


def _jumprelu(
    config: Any, p: Parameters, pre: Tensor, centred: Tensor, W: Tensor, rise: float
) -> tuple[Tensor, Tensor]:
    threshold, to_pre = p["threshold"] * config.threshold_rate, config.straight_through == "all"
    latents = _Jump.apply(pre, threshold, config.bandwidth, to_pre, False)
    if config.sparsity_loss == "tanh":
        penalty = (latents * (config.tanh_scale or 4.0)).tanh().sum(1).mean()
    else:
        l0 = _Jump.apply(pre, threshold, config.bandwidth, to_pre, True).sum(1).mean()
        penalty = l0 if config.sparsity_loss == "step" else (l0 - config.target_l0).square() / config.target_l0
    return latents, config.coefficient * rise * penalty / centred.shape[1]


def loss(
    config: Any, p: Parameters, x: Tensor, rise: float, dead: Tensor, mean: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of one step, a scalar, and how many latents are active [n]. `rise`: the share of the penalty.

    `mean`: of a transcoder's input, the first columns of `x`; the others are its target.
    """
    if config.architecture == "matchingpursuit":
        return _matching_pursuit(config, p, x, dead)
    W, enc, d = p["W_dec"], p["W_enc_t"], p["W_dec"].shape[1]
    bias = p["b_gate"] if config.architecture == "gated" else p["b_enc"]
    if config.free_decoder:
        length = W.norm(dim=1)
        W, enc, bias = W / length[:, None], enc * length[:, None], bias * length
    inputs = centred = x - p["b_dec"] if mean is None else x[:, len(mean) :] - p["b_dec"]
    if mean is not None:
        inputs = x[:, : len(mean)] - mean
        centred = centred - (inputs @ p["W_skip"] if "W_skip" in p else 0)
    pre = inputs @ enc.T + bias
    more: Tensor = x.new_zeros(())
    threshold: Tensor = torch.zeros_like(bias)
    match config.architecture:
        case "topk":
            latents = _largest(pre, config.k)
        case "batchtopk":
            latents = _largest(pre, config.k, True)
        case "hierarchicaltopk":
            latents = _largest(pre, config.k)
            levels = [_mse(_largest(pre, k) @ W - centred) for k in config.all_levels()]
            more = sum(levels) / len(levels) - levels[-1]
        case "matryoshka":
            latents = _largest(pre, config.k, True)
            levels = [_mse(latents[:, :width] @ W[:width] - centred) for width in config.all_widths()]
            more = sum(levels) / len(levels) - levels[-1]
        case "standard":
            latents = pre.relu()
            more = config.l1 * rise * latents.sum(1).mean() / d
        case "jumprelu":
            latents, more = _jumprelu(config, p, pre, centred, W, rise)
            threshold = p["threshold"] * config.threshold_rate
        case "gated":
            magnitude = (pre - bias) * p["r_mag"].exp() + p["b_mag"]
            latents = magnitude.relu() * (pre > 0)
            gate_error = pre.relu() @ W.detach() - (centred.detach() if mean is not None else x - p["b_dec"].detach())
            more = _mse(gate_error) + config.l1 * rise * pre.relu().sum(1).mean() / d
    error = latents @ W - centred
    if len(dead) and config.aux_coefficient:
        guess = _largest(pre[:, dead], min(config.aux_k, len(dead))) @ W[dead]
        more = more + config.aux_coefficient * _mse(guess + error.detach())
    if len(dead) and getattr(config, "revival_coefficient", 0):
        more = more + config.revival_coefficient * (threshold[dead] - pre[:, dead]).relu().sum(1).mean() / d
    return _mse(error) + more, (latents > 0).sum(1)


def _matching_pursuit(config: Any, p: Parameters, x: Tensor, dead: Tensor) -> tuple[Tensor, Tensor]:
    W, left = p["W_dec"], x - p["b_dec"]
    active = torch.zeros(len(x), len(W), dtype=torch.bool)
    for number in range(config.k):
        latent = (left @ W.T).argmax(1)
        value = (left * W[latent]).sum(1).relu()
        if number:
            value = value * (left.norm(dim=1) >= config.residual_threshold * x.shape[1] ** 0.5)
        active |= torch.zeros_like(active).scatter_(1, latent[:, None], value[:, None] > 0)
        left = left - value[:, None] * W[latent]
    more: Tensor = x.new_zeros(())
    if len(dead) and config.aux_coefficient:
        rest = left.detach()
        more = config.aux_coefficient * _mse(_largest(rest @ W[dead].T, min(config.aux_k, len(dead))) @ W[dead] - rest)
    return _mse(left) + more, active.sum(1)


def gradients(
    config: Any, parameters: Parameters, x: Tensor, rise: float, dead: Tensor, mean: Tensor | None = None
) -> tuple[Parameters, Tensor]:
    """What autograd gives for each parameter; of unit decoder rows without what lies along them. And latents active [n]."""
    p = {name: tensor.detach().clone().requires_grad_() for name, tensor in parameters.items()}
    total, active = loss(config, p, x, rise, dead, mean)
    found = dict(
        zip(p, torch.autograd.grad(total, list(p.values()), allow_unused=True, materialize_grads=True), strict=True)
    )
    if not getattr(config, "free_decoder", False):
        along = (found["W_dec"] * p["W_dec"]).sum(1, keepdim=True)
        found["W_dec"] = found["W_dec"] - along * p["W_dec"].detach()
    return {name: tensor.detach() for name, tensor in found.items()}, active
