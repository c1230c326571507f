"""What a feature writes, from its decoder direction alone: promoted and suppressed tokens, and nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK_BYTES = 64 * 2**20


class Ranked(NamedTuple):
    """For each feature the best `n`: ids int64 [F, n] and values float32 [F, n], largest first, ties by id."""

    ids: Tensor
    values: Tensor


def logit_lens(W_dec: Tensor, W_U: Tensor, centered: bool, n: int) -> tuple[Ranked, Ranked]:
    """Tokens that each direction of W_dec [F, d] promotes and suppresses most, through W_U [d, V].

    W_U has the final norm's weight folded in; `centered` says that the norm takes the mean away first (LayerNorm).
    Suppressed tokens come with the smallest logit first.
    """
    n = min(n, W_U.shape[1])
    directions = W_dec - W_dec.mean(dim=1, keepdim=True) if centered else W_dec
    promoted, suppressed = [], []
    for block in torch.split(directions, _rows(W_U.shape[1])):
        logits = block @ W_U
        promoted.append(_largest(logits, n))
        low = _largest(logits.neg_(), n)
        suppressed.append(Ranked(low.ids, -low.values))
    return _cat(promoted), _cat(suppressed)


def nearest(W_dec: Tensor, n: int) -> Ranked:
    """The `n` other features with the largest cosine to each direction of W_dec [F, d]."""
    features = W_dec.shape[0]
    n = min(n, features - 1)
    unit = torch.nn.functional.normalize(W_dec, dim=1)
    found = []
    for first in range(0, features, _rows(features)):
        block = unit[first : first + _rows(features)]
        cosine = block @ unit.T
        cosine[torch.arange(len(block)), first + torch.arange(len(block))] = -torch.inf
        found.append(_largest(cosine, n))
    return _cat(found)


def _rows(columns: int) -> int:
    return max(1, _BLOCK_BYTES // (4 * columns))


def _largest(values: Tensor, n: int) -> Ranked:
    value, index = values.topk(n, dim=1)
    # topk leaves the order of equal values open.
    index, by_index = index.sort(dim=1)
    value, by_value = value.gather(1, by_index).sort(dim=1, descending=True, stable=True)
    return Ranked(index.gather(1, by_value).cpu(), value.cpu())


def _cat(blocks: list[Ranked]) -> Ranked:
    return Ranked(*(torch.cat(fields) for fields in zip(*blocks, strict=True)))
