"""Counts the matrix products of a forward pass."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from sae.language_model.module_io import hidden_input


class Counter:
    """While entered, counts the products of weight matrices and the attention modules that run to their end."""

    def __init__(self, model: nn.Module, attention: list[nn.Module], config: Any, d_model: int) -> None:
        self.products = 0.0  # of all tokens that passed
        self.attentions = 0
        heads = getattr(config, "num_attention_heads", None)
        width = getattr(config, "head_dim", None)
        self._width = heads * width if isinstance(heads, int) and isinstance(width, int) else d_model
        self._matrices = [m for m in model.modules() if _is_matrix(m)]
        self._attention = attention

    def __enter__(self) -> Counter:
        self._stack = ExitStack()
        for module in self._matrices:
            self._stack.callback(module.register_forward_hook(self._product, with_kwargs=True).remove)
        for module in self._attention:
            self._stack.callback(module.register_forward_hook(self._attend).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _product(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = hidden_input(args, kwargs)
        weight = module.weight
        if given is not None and isinstance(weight, Tensor):
            self.products += 2.0 * weight.numel() * (given.numel() // given.shape[-1])

    def _attend(self, *_: object) -> None:
        self.attentions += 1

    def per_token(self, tokens: int, length: int) -> float:
        """Operations a token, in rows of `length`: queries with keys, weights with values, (length + 1) / 2 each."""
        return self.products / tokens + self.attentions * 2 * 2 * self._width * (length + 1) / 2


def _is_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 2 and not isinstance(module, nn.Embedding)
