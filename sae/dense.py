"""The operations of sae.sparse for codes that are not sparse: dense products, which are faster where many latents are active."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sae.sparse import Codes, LatentOrder, decode

# Above one active latent in so many, dense products are faster: 2,048 positions of 576 dimensions, 1,152 and 4,608 latents.
SPARSE = 4


class DenseOrder:
    """What LatentOrder gives, by dense products of [n, d_sae] matrices. Entries stay in the order of the codes."""

    def __init__(self, codes: Codes, width: int) -> None:
        self.latent, self.position, self.value = codes.latent, codes.position, codes.value
        self.order = slice(None)
        self._shape = (len(codes.offsets), width)

    def rows(self, rows: Tensor, weights: Tensor) -> Tensor:
        """See LatentOrder."""
        return self._matrix(weights).T @ rows

    def sums(self, weights: Tensor) -> Tensor:
        """See LatentOrder."""
        return self._matrix(weights).sum(0)

    def decoder(self, grad: Tensor, W_dec: Tensor) -> tuple[Tensor, Tensor]:
        """See LatentOrder."""
        return self.rows(grad, self.value), (grad @ W_dec.T)[self.position, self.latent]

    def _matrix(self, weights: Tensor) -> Tensor:
        matrix = weights.new_zeros(self._shape)
        matrix[self.position, self.latent] = weights
        return matrix


def are_dense(codes: Codes, width: int) -> bool:
    """Whether dense products are faster for these codes."""
    return len(codes.latent) * SPARSE > len(codes.offsets) * width


def latent_order(codes: Codes, width: int) -> LatentOrder | DenseOrder:
    """The codes for what is summed over positions, in whichever way is faster."""
    return DenseOrder(codes, width) if are_dense(codes, width) else LatentOrder(codes, width)


def reconstruct(codes: Codes, W_dec: Tensor) -> Tensor:
    """Sum of value * W_dec[latent] for each position [n, d], in whichever way is faster."""
    if not are_dense(codes, len(W_dec)):
        return decode(codes, W_dec)
    latents = W_dec.new_zeros(len(codes.offsets), len(W_dec))
    latents[codes.position, codes.latent] = codes.value
    return latents @ W_dec


def reconstruct_with_slopes(codes: Codes, W_dec: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """reconstruct(), and what takes a gradient there [n, d] to that of each entry's value [m], in the order of the codes."""
    if are_dense(codes, len(W_dec)):
        return reconstruct(codes, W_dec), lambda grad: (grad @ W_dec.T)[codes.position, codes.latent]
    with torch.enable_grad():
        value = codes.value.detach().requires_grad_()
        made = decode(codes._replace(value=value), W_dec)

    def slopes(grad: Tensor) -> Tensor:
        return torch.autograd.grad(made, value, grad)[0] if len(value) else value.detach()

    return made.detach(), slopes
