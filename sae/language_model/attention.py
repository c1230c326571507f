"""Attention of half-precision models on a CPU, by two products of matrices and a softmax.

torch's fused attention on a CPU goes through small blocks, which half-precision products do not profit from. Products of whole
rows by oneDNN take 0.35 to 0.6 of its time (measured in bf16 on rows of 64 to 1,024 tokens); in fp32 the fused one is faster.
transformers' models call their attention by name; here `sdpa` gets a function that computes the same by products where it
may, and calls transformers' own otherwise.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

# Scores of one row that may be kept, in bytes: 1,024 tokens and 32 heads. Longer rows are left to the fused attention.
_MAX_ROW_BYTES = 64 * 2**20
_HALF = (torch.bfloat16, torch.float16)
_PROVED = "_raylens_attention_by_products"  # on a module: whether its attention was seen to equal transformers'


def use_products_for_attention() -> None:
    """Has transformers' models that are loaded with sdpa attention call attention() in this process."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register("sdpa", attention)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' `sdpa_attention_forward`: query [B, H, L, d], key and value [B, K, L, d] with K a divisor of H; [B, L, H, d].

    The first time that a module's attention can be computed by products, both ways are computed and compared; a module
    where they differ keeps transformers' own.
    """
    if dropout or module.__dict__.get(_PROVED) is False or not _suits(query, key, value, attention_mask, kwargs):
        return _fused(module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs)
    causal = attention_mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    made = attention_by_products(query, key, value, attention_mask, causal, scale)
    if _PROVED not in module.__dict__:
        wanted, _ = _fused(module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs)
        module.__dict__[_PROVED] = _close(made, wanted)
        made = made if module.__dict__[_PROVED] else wanted
    return made, None


def attention_by_products(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """softmax(scale query key^T) value, over the keys that `mask` (bool [B or 1, 1, L, L]) or `causal` allows: [B, L, H, d].

    A position that may see no key gets 0. All heads that share a key are one product.
    """
    batch, heads, length, _ = query.shape
    shared = heads // key.shape[1]
    queries = query.reshape(batch * key.shape[1], shared * length, -1)
    keys, values = (x.reshape(batch * key.shape[1], length, -1) for x in (key, value))
    bias = _causal_bias(length, shared, query.dtype) if causal else query.new_zeros(1, 1)
    scores = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=scale).view(batch, heads, length, length)
    if mask is not None:
        scores.masked_fill_(~mask, torch.finfo(query.dtype).min)
    made = torch.bmm(scores.softmax(-1).view(len(keys), shared * length, length), values).view(batch, heads, length, -1)
    if mask is not None:
        made = made * mask.any(-1, keepdim=True)
    return made.transpose(1, 2).contiguous()


@lru_cache(maxsize=8)
def _causal_bias(length: int, shared: int, dtype: torch.dtype) -> Tensor:
    later = torch.full((length, length), torch.finfo(dtype).min, dtype=dtype).triu(1)
    return later.repeat(shared, 1)


def _suits(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, others: dict[str, Any]) -> bool:
    """Whether attention_by_products may take these: a whole row of a half-precision model on a CPU, and nothing unusual."""
    if query.device.type != "cpu" or query.dtype not in _HALF or not query.dtype == key.dtype == value.dtype:
        return False
    if torch.is_grad_enabled() or any(others.get(name) is not None for name in ("position_bias", "cache", "softcap")):
        return False
    batch, heads, length, _ = query.shape
    if length < 2 or heads % key.shape[1] or (batch, length) != (key.shape[0], key.shape[2]):
        return False
    square = mask is None or (mask.dtype == torch.bool and mask.dim() == 4 and mask.shape[1:] == (1, length, length))
    return square and heads * length * length * query.element_size() <= _MAX_ROW_BYTES


def _fused(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    made: tuple[Tensor, None] = sdpa_attention_forward(*args, **kwargs)
    return made


def _close(made: Tensor, wanted: Tensor) -> bool:
    """Equal up to the rounding of scores and weights to half precision: 2% of the root mean square of the difference."""
    if made.shape != wanted.shape:
        return False
    error = (made.float() - wanted.float()).pow(2).mean().sqrt()
    return bool(error <= 0.02 * wanted.float().pow(2).mean().sqrt())
