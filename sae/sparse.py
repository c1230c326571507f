"""Sparse codes, and the operations of a step that touch active latents only: all but the encoder's one dense product.

Codes are flat, in order of position: `latent` [m], `value` [m], `position` [m] and the first entry of each position
`offsets` [n]. The same operations serve TopK (m = n k), BatchTopK (m about n k) and thresholds, on CPU and CUDA. Floats are
added in a fixed order, bag by bag: results do not depend on the number of threads, and nothing here uses atomic sums.
On CUDA the sums are kernels of sae.sparse_kernels, where Triton is installed.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# Rows are searched by maxima of groups first: of so many values where a row is wider than so many times k; narrower ones
# directly. The fastest of what was tried: on a CPU at k 32 and widths 4,608 and 9,216; on an H100 at k 32, 128 and 512 and
# widths 9,216, 16,384 and 65,536 (there 1.0 ms instead of 3.2 for 4,096 rows and k 32). On CUDA fewer values than _LARGE
# are searched directly: starting more kernels would take longer than they save.
_CPU_GROUPS, _CUDA_GROUPS = ((64, 8), (12, 4)), ((1024, 16), (64, 8))
_LARGE = 1 << 26
_FEW = 1 << 27  # numbers to add up, below which Triton's kernels are not worth their start


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

    A wide row is searched by groups: the k largest are in the k groups with the largest maxima.
    """
    width = values.shape[1]
    rules = (_CUDA_GROUPS if values.numel() >= _LARGE else ()) if values.is_cuda else _CPU_GROUPS
    size = next((size for times, size in rules if width > times * k and width % size == 0), 0)
    if not size:
        found = values.topk(k, dim=1, sorted=False)
        return found.values, found.indices
    return _by_groups(values, k, size)


def _by_groups(values: Tensor, k: int, size: int) -> tuple[Tensor, Tensor]:
    n, width = values.shape
    groups = width // size
    # Column c is in group c mod `groups`, so that the maxima are taken over contiguous slices.
    maxima = values.view(n, size, groups).amax(1)
    # A kernel of its own for each small step would take longer than it saves on CUDA.
    group = maxima.topk(k, dim=1, sorted=False).indices if values.is_cuda else largest(maxima, k)[1]
    column = torch.cat([group + i * groups for i in range(size)], dim=1)
    found = values.gather(1, column).topk(k, dim=1, sorted=False)
    return found.values, column.gather(1, found.indices)


def topk(pre: Tensor, k: int) -> Codes:
    """The k largest pre-activations of each position of `pre` [n, d_sae], then ReLU (Gao et al. 2024)."""
    value, latent = largest(pre, k)
    return _of_each(latent, value)


def sorted_topk(pre: Tensor, k: int) -> Codes:
    """topk(), the largest of each position first; of equal ones the lower latent."""
    value, latent = largest(pre, k)
    latent, order = latent.sort(dim=1)
    value, order = value.gather(1, order).sort(dim=1, descending=True, stable=True)
    return _of_each(latent.gather(1, order), value)


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
    tie = (value == cut) & (value > 0)
    rank = tie.view(-1).cumsum(0).view_as(tie)  # of ties, in order of position and latent
    return _flat(chosen | (tie & (rank <= budget - chosen.sum())), latent, value)


def positive_topk(pre: Tensor, k: int) -> Codes:
    """topk() without the entries of value 0, by position and then latent."""
    value, latent = largest(pre, k)
    latent, order = latent.sort(dim=1)
    value = value.gather(1, order)
    return _flat(value > 0, latent, value)


def above(pre: Tensor, threshold: Tensor) -> Codes:
    """Pre-activations [n, d_sae] that are positive and above the latent's `threshold` [d_sae], by position and latent."""
    return over(pre, threshold.clamp(min=0))


def over(pre: Tensor, bound: Tensor) -> Codes:
    """Pre-activations [n, d_sae] over the latent's `bound` [d_sae], whatever their sign, by position and latent."""
    position, latent = (pre > bound).nonzero(as_tuple=True)
    offsets = torch.searchsorted(position, torch.arange(len(pre), device=pre.device))
    return Codes(latent, pre[position, latent], position, offsets)


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
    return sum_rows(W_dec, codes.latent, codes.value, codes.offsets)


def sum_rows(rows: Tensor, index: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Sum of weight * row over each bag [bags, d]: of `rows` [any, d] the row index [m] for each entry, weights [m].

    A bag ends where the next begins: `offsets` [bags].
    """
    if kernels := _kernels(rows, weights):
        made: Tensor = kernels.sum_rows(rows, index, weights, offsets)
        return made
    return embedding_bag(index, rows, offsets, per_sample_weights=weights, mode="sum")


class LatentOrder:
    """Codes of n positions in order of latent, for what is summed over the positions of each latent.

    `position`, `value` [m] and everything that its methods take or give for each entry are in that order; `order` [m] sorts.
    """

    def __init__(self, codes: Codes, width: int) -> None:
        latent, self.order = codes.latent.to(torch.int32).sort(stable=True)
        self.latent, self._positions = latent, len(codes.offsets)
        self.offsets = torch.searchsorted(latent, torch.arange(width, dtype=torch.int32, device=latent.device))
        self.position, self.value = codes.position[self.order], codes.value[self.order]

    def rows(self, rows: Tensor, weights: Tensor, number: Tensor | None = None) -> Tensor:
        """Sum of weight * row over the entries of each latent [d_sae, d]. An entry's row is that of its position, or `number`."""
        number = self.position if number is None else number
        return sum_rows(rows, number, weights, self.offsets)

    def sums(self, weights: Tensor) -> Tensor:
        """Sum of the weights of each latent [d_sae]."""
        return self.rows(weights.new_ones(self._positions, 1), weights)[:, 0]

    def decoder(self, grad: Tensor, W_dec: Tensor, number: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gradients of W_dec and of each entry's value, from `grad` [rows, d], the loss gradient at the reconstruction."""
        if kernels := _kernels(W_dec, self.value):
            number = self.position if number is None else number
            made: tuple[Tensor, Tensor] = kernels.decoder_gradients(self.value, number, self.offsets, grad, W_dec)
            return made
        with torch.enable_grad():
            weights = self.value.detach().requires_grad_()
            d_dec = self.rows(grad, weights, number)
        # The sum that is W_dec's gradient, differentiated by its weights along W_dec, gives grad[position] . W_dec[latent] for
        # each entry: the gradient of its value, latent by latent, which reads less memory than position by position.
        (d_value,) = torch.autograd.grad(d_dec, weights, W_dec)
        return d_dec.detach(), d_value


def backward(codes: Codes, x: Tensor, grad: Tensor, W_dec: Tensor, number: Tensor | None = None) -> Gradients:
    """Gradients from `grad` [n, d], the loss gradient at the reconstruction; `x` [n, d] is the encoder's input.

    With `number` [m] an entry's loss gradient is that row of `grad`, not that of its position.
    """
    entries = LatentOrder(codes, len(W_dec))
    if kernels := _kernels(W_dec, codes.value):
        row = entries.position if number is None else number[entries.order]
        made = kernels.latent_gradients(entries.value, row, entries.position, entries.offsets, grad, x, W_dec)
        return Gradients(*made)
    d_dec, d_value = entries.decoder(grad, W_dec, None if number is None else number[entries.order])
    d_value = d_value * (entries.value > 0)
    b_enc, radial = (entries.sums(w) for w in (d_value, entries.value * d_value))
    return Gradients(entries.rows(x, d_value), b_enc, d_dec, radial)


def _kernels(rows: Tensor, entries: Tensor) -> ModuleType | None:
    """The kernels for rows [any, d] and their entries [m]; None where torch's own operations do it.

    These do it on a CPU, where autograd must look on, and where there is little to add up: starting one of Triton's kernels
    takes the CPU longer.
    """
    if len(entries) * rows.shape[1] < _FEW:
        return None
    wants_gradient = torch.is_grad_enabled() and (rows.requires_grad or entries.requires_grad)
    if not rows.is_cuda or wants_gradient or not (rows.dtype == entries.dtype == torch.float32):
        return None
    return _triton_kernels()


@cache
def _triton_kernels() -> ModuleType | None:
    try:
        from sae import sparse_kernels
    except ImportError:  # Triton comes with torch for CUDA on Linux, but not everywhere
        return None
    return sparse_kernels


def _of_each(latent: Tensor, value: Tensor) -> Codes:
    """Codes of latents and values [n, k], the values after ReLU."""
    n, k = latent.shape
    offsets = torch.arange(0, n * k, k, device=latent.device)
    position = torch.arange(n, device=latent.device)[:, None].expand(n, k).reshape(-1)
    return Codes(latent.reshape(-1), value.relu_().reshape(-1), position, offsets)


def _flat(chosen: Tensor, latent: Tensor, value: Tensor) -> Codes:
    """The chosen entries of latents and values [n, candidates]."""
    position, column = chosen.nonzero(as_tuple=True)
    counts = chosen.sum(1)
    return Codes(latent[position, column], value[position, column], position, counts.cumsum(0) - counts)
