"""x W^T + b for fp32 on a CPU, by oneDNN.

torch computes fp32 products on a CPU with MKL. On AMD processors oneDNN is faster (measured: 12 to 25% for an SAE's encoder,
11% for a language model), adds the bias on the way out, and gives each row the same bits whatever the number of threads or
of other rows.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., i] times weight [o, i] transposed, plus bias [o]: [..., o]. As torch's own function, which does the rest."""
    if _is_for_onednn(x, weight):
        # oneDNN has another kernel for one row, whose bits are not those that the row has among others.
        alone = x.numel() == x.shape[-1]
        rows = x.reshape(1, -1).repeat(2, 1) if alone else x
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return out[0].reshape(*x.shape[:-1], len(weight)) if alone else out
    if x.device.type == "cpu" and x.dim() > 2:
        # A slice of positions has strides for which torch leaves its fast kernels: 52 ms instead of 3 for one token and 49,152
        # outputs in bf16. Rows of two dimensions have none of these.
        return nn.functional.linear(x.reshape(-1, x.shape[-1]), weight, bias).reshape(*x.shape[:-1], len(weight))
    return nn.functional.linear(x, weight, bias)


def bf16_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [n, i] times weight [o, i] transposed, both rounded to bf16, plus bias [o]: fp32 [n, o].

    On CUDA the product adds up in fp32 and is not rounded. A large one adds the bias itself, as two further columns: a pass
    over [n, o] less (2.2 ms instead of 3.2 on an H100 for 4,096 x 2,304 x 65,536).
    """
    if not x.is_cuda:
        return linear(x.bfloat16(), weight.bfloat16()) + bias
    if len(x) * len(weight) < _LARGE:
        return torch.mm(x.bfloat16(), weight.bfloat16().T, out_dtype=torch.float32).add_(bias)
    x, weight = with_bias_columns(x, weight, bias)
    return torch.mm(x, weight.T, out_dtype=torch.float32)


def with_bias_columns(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """x [n, j] and weight [o, j] in bf16 with columns whose product is the bias [o]; j is a multiple of 8, as tensor cores want.

    The bias is two numbers, rounded and what rounding left: 16 bits of it stay.
    """
    rounded = bias.bfloat16()
    columns = torch.stack([rounded, (bias - rounded).bfloat16()], 1)
    more = -(x.shape[1] + 2) % 8
    ones = x.new_ones(len(x), 2, dtype=torch.bfloat16)
    padded = torch.cat([x.bfloat16(), ones, ones.new_zeros(len(x), more)], 1)
    return padded, torch.cat([weight.bfloat16(), columns, columns.new_zeros(len(weight), more)], 1)


def use_onednn(model: nn.Module) -> None:
    """Has all linear layers of a model compute with linear(). Hooks on them see what they saw."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = partial(_forward, module)  # type: ignore[method-assign]


def _forward(module: nn.Linear, x: Tensor) -> Tensor:
    return linear(x, module.weight, module.bias)


_LARGE = 1 << 26  # values of a product, from which on fewer passes over them outweigh starting more kernels
_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    if x.device.type != "cpu" or not (x.dtype == weight.dtype == torch.float32) or not x.numel():
        return False
    wants_gradient = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _ONEDNN and not wants_gradient
