"""Sparse codes, and the operations of a step that touch active latents only: all but the encoder's one dense product.

Codes are flat, in order of position: `latent` [m], `value` [m], `position` [m] and the first entry of each position
`offsets` [n]. The same operations serve TopK (m = n k), BatchTopK (m about n k) and thresholds, on CPU and CUDA. Floats are
added in a fixed order, bag by bag: results do not depend on the number of threads, and nothing here uses atomic sums.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# Rows of at most _DIRECT times k values are searched directly; wider ones by maxima of groups first, of 8 values where a
# row is wider than _WIDE times k, else of 4: the fastest of what was tried at k 32 and widths 4,608 and 9,216.
_DIRECT, _WIDE = 12, 64


class Codes(NamedTuple):
    """Active latents of n positions, flat. `value` is not negative; entries with value 0 carry no gradient."""

    latent: Tensor
    value: Tensor
    position: Tensor
    offsets: Tensor


class Gradients(NamedTuple):
    """Gradients of one pass through active latents: W_enc_t [d_sae, d], b_enc [d_sae], W_dec [d_sae, d].

    `radial` [d_sae]: the component of each row of W_dec's gradient along that row of W_dec, times the row's length.
    """

    W_enc_t: Tensor
    b_enc: Tensor
    W_dec: Tensor
    radial: Tensor


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row of `values` [n, width], in no particular order, and their columns: [n, k] each.

    On a CPU a wide row is searched by groups: the k largest are in the k groups with the largest maxima.
    """
    n, width = values.shape
    size = 8 if width % 8 == 0 and width > _WIDE * k else 4
    groups = width // size
    if values.is_cuda or width <= _DIRECT * k or width % size:
        found = values.topk(k, dim=1, sorted=False)
        return found.values, found.indices
    # Column c is in group c mod `groups`, so that the maxima are taken over contiguous slices.
    _, group = largest(values.view(n, size, groups).amax(1), k)
    column = torch.cat([group + i * groups for i in range(size)], dim=1)
    found = values.gather(1, column).topk(k, dim=1, sorted=False)
    return found.values, column.gather(1, found.indices)


def topk(pre: Tensor, k: int) -> Codes:
    """The k largest pre-activations of each position of `pre` [n, d_sae], then ReLU (Gao et al. 2024)."""
    value, latent = largest(pre, k)
    n = len(pre)
    offsets = torch.arange(0, n * k, k, device=pre.device)
    position = torch.arange(n, device=pre.device)[:, None].expand(n, k).reshape(-1)
    return Codes(latent.reshape(-1), value.relu_().reshape(-1), position, offsets)


def batch_topk(pre: Tensor, k: int) -> Codes:
    """The n k largest positive pre-activations of the whole batch `pre` [n, d_sae] (Bussmann et al. 2024).

    Takes a few candidates of each position first, and more only while some position may hold more active latents than
    its candidates: the result is exactly that of one top-k over the batch. Ties go to the earlier position and latent.
    """
    n, width = pre.shape
    budget = n * k
    candidates = min(width, 4 * k)
    while True:
        value, latent = largest(pre, candidates)
        cut = value.reshape(-1).topk(min(budget, value.numel()), sorted=True).values[-1]
        smallest = value.amin(1)
        if candidates == width or not bool(((smallest >= cut) & (smallest > 0)).any()):
            break
        candidates = min(width, 2 * candidates)
    latent, order = latent.sort(dim=1)
    value = value.gather(1, order)
    chosen = (value > cut) & (value > 0)
    ties = ((value == cut) & (value > 0)).reshape(-1).nonzero()[:, 0]
    chosen.view(-1)[ties[: max(0, budget - int(chosen.sum()))]] = True
    return _flat(chosen, latent, value)


def positive_topk(pre: Tensor, k: int) -> Codes:
    """topk() without the entries of value 0, by position and then latent."""
    value, latent = largest(pre, k)
    latent, order = latent.sort(dim=1)
    value = value.gather(1, order)
    return _flat(value > 0, latent, value)


def above(pre: Tensor, threshold: Tensor) -> Codes:
    """Pre-activations [n, d_sae] that are positive and above the latent's `threshold` [d_sae], by position and latent."""
    active = (pre > threshold) & (pre > 0)
    position, latent = active.nonzero(as_tuple=True)
    counts = active.sum(1)
    return Codes(latent, pre[position, latent], position, counts.cumsum(0) - counts)


def concatenate(parts: list[Codes]) -> Codes:
    """Codes of consecutive positions as one."""
    if len(parts) == 1:
        return parts[0]
    positions, entries, shifted = 0, 0, []
    for part in parts:
        shifted.append(part._replace(position=part.position + positions, offsets=part.offsets + entries))
        positions, entries = positions + len(part.offsets), entries + len(part.latent)
    return Codes(*(torch.cat(fields) for fields in zip(*shifted, strict=True)))


def decode(codes: Codes, W_dec: Tensor) -> Tensor:
    """Sum of value * W_dec[latent] for each position: [n, d]."""
    if len(codes.latent) == 0:
        return W_dec.new_zeros(len(codes.offsets), W_dec.shape[1])
    return embedding_bag(codes.latent, W_dec, codes.offsets, per_sample_weights=codes.value, mode="sum")


def backward(codes: Codes, x: Tensor, grad: Tensor, W_dec: Tensor) -> Gradients:
    """Gradients from `grad` [n, d], the loss gradient at the reconstruction; `x` [n, d] is the encoder's input."""
    latent, order = codes.latent.to(torch.int32).sort(stable=True)
    offsets = torch.searchsorted(latent, torch.arange(len(W_dec), dtype=torch.int32, device=latent.device))
    position, value = codes.position[order], codes.value[order]

    def by_latent(rows: Tensor, weights: Tensor) -> Tensor:
        return embedding_bag(position, rows, offsets, per_sample_weights=weights, mode="sum")

    with torch.enable_grad():
        weights = value.detach().requires_grad_()
        d_dec = by_latent(grad, weights)
    # The sum that is W_dec's gradient, differentiated by its weights along W_dec, gives grad[position] . W_dec[latent] for
    # each entry: the gradient of its value, latent by latent, which reads less memory than position by position.
    (d_value,) = torch.autograd.grad(d_dec, weights, W_dec)
    d_value = d_value * (value > 0)
    ones = torch.ones(len(x), 1, device=x.device)
    b_enc, radial = (by_latent(ones, w)[:, 0] for w in (d_value, value * d_value))
    return Gradients(by_latent(x, d_value), b_enc, d_dec.detach(), radial)


def _flat(chosen: Tensor, latent: Tensor, value: Tensor) -> Codes:
    """The chosen entries of latents and values [n, candidates]."""
    counts = chosen.sum(1)
    position = torch.arange(len(chosen), device=chosen.device).repeat_interleave(counts)
    return Codes(latent[chosen], value[chosen], position, counts.cumsum(0) - counts)
