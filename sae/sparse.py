"""The sparse step: everything after the encoder's one dense product touches active latents only.

Codes are kept flat, in order of position: `latent` [m], `value` [m], `position` [m] and the first entry of each
position `offsets` [n]. The same operations serve TopK (m = n k) and BatchTopK (m about n k), on CPU and CUDA.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


class Codes(NamedTuple):
    """Active latents of n positions, flat. `value` is not negative; entries with value 0 carry no gradient."""

    latent: Tensor
    value: Tensor
    position: Tensor
    offsets: Tensor


class Gradients(NamedTuple):
    """Gradients of one pass through active latents: W_enc_t [d_sae, d], b_enc [d_sae], W_dec [d_sae, d]."""

    W_enc_t: Tensor
    b_enc: Tensor
    W_dec: Tensor


def topk(pre: Tensor, k: int) -> Codes:
    """The k largest pre-activations of each position of `pre` [n, d_sae], then ReLU (Gao et al. 2024)."""
    value, latent = pre.topk(k, dim=1, sorted=False)
    n = len(pre)
    offsets = torch.arange(0, n * k, k, device=pre.device)
    position = torch.arange(n, device=pre.device).repeat_interleave(k)
    return Codes(latent.reshape(-1), value.relu().reshape(-1), position, offsets)


def batch_topk(pre: Tensor, k: int) -> Codes:
    """The n k largest positive pre-activations of the whole batch `pre` [n, d_sae] (Bussmann et al. 2024).

    Takes a few candidates of each position first, and more only while some position may hold more active latents than
    its candidates: the result is exactly that of one top-k over the batch. Ties go to the earlier position and latent.
    """
    n, width = pre.shape
    budget = n * k
    take = min(width, 4 * k)
    while True:
        value, latent = pre.topk(take, dim=1)
        cut = value.reshape(-1).topk(min(budget, value.numel()), sorted=True).values[-1]
        last = value[:, -1]
        if take == width or not bool(((last >= cut) & (last > 0)).any()):
            break
        take = min(width, 2 * take)
    latent, order = latent.sort(dim=1)
    value = value.gather(1, order)
    chosen = (value > cut) & (value > 0)
    ties = ((value == cut) & (value > 0)).reshape(-1).nonzero()[:, 0]
    chosen.view(-1)[ties[: max(0, budget - int(chosen.sum()))]] = True
    counts = chosen.sum(1)
    position = torch.arange(n, device=pre.device).repeat_interleave(counts)
    return Codes(latent[chosen], value[chosen], position, counts.cumsum(0) - counts)


def decode(codes: Codes, W_dec: Tensor) -> Tensor:
    """Sum of value * W_dec[latent] for each position: [n, d]."""
    return embedding_bag(codes.latent, W_dec, codes.offsets, per_sample_weights=codes.value, mode="sum")


def backward(codes: Codes, x: Tensor, grad: Tensor, W_dec: Tensor) -> Gradients:
    """Gradients from `grad` [n, d], the loss gradient at the reconstruction; `x` [n, d] is the encoder's input."""
    d_value = _value_gradient(codes, grad, W_dec) * (codes.value > 0)
    width = len(W_dec)
    latent, order = codes.latent.to(torch.int32).sort(stable=True)
    counts = torch.bincount(latent, minlength=width)
    offsets = counts.cumsum(0) - counts
    position = codes.position[order]

    def by_latent(rows: Tensor, weights: Tensor) -> Tensor:
        return embedding_bag(position, rows, offsets, per_sample_weights=weights[order], mode="sum")

    b_enc = torch.zeros(width, device=x.device).index_add_(0, codes.latent, d_value)
    return Gradients(by_latent(x, d_value), b_enc, by_latent(grad, codes.value))


def _value_gradient(codes: Codes, grad: Tensor, W_dec: Tensor) -> Tensor:
    with torch.enable_grad():
        value = codes.value.detach().requires_grad_()
        decoded = decode(codes._replace(value=value), W_dec)
    return torch.autograd.grad(decoded, value, grad)[0]
