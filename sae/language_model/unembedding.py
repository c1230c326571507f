"""The logit lens: what a direction of the residual stream promotes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

from torch import Tensor, nn

from sae.language_model.block_layout import first_tensor, hidden_input
from sae.language_model.errors import ModelError
from sae.language_model.hook_capture import Tap
from sae.language_model.norms import Norm, is_norm, recognise


class Unembedding(NamedTuple):
    """A direction v [d] of the residual stream promotes token t by (v @ W_U)[t].

    `W_U` is float32 [d, V] with the final norm's weight folded in. If `centered` (LayerNorm) take v's mean out first.
    Logit scaling and soft caps keep the order of tokens and are left out, and so is the norm's own scale.
    """

    W_U: Tensor
    centered: bool


def fold(model: Any, norm: Norm | None) -> Unembedding:
    """The output matrix of `model` with the gain of `norm` in it. Raises ModelError if there is no output matrix."""
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output embeddings, so it predicts no tokens")
    weight = head.weight.detach().float().T
    gain = None if norm is None else norm.gain
    return Unembedding(
        W_U=weight.clone() if gain is None else weight * gain[:, None],
        centered=norm is not None and norm.centered,
    )


def final_norm(base: nn.Module, last_block: nn.Module, d_model: int, ids: Tensor) -> Norm | None:
    """The norm that reads the last block's output, seen in a pass of `base` over `ids`; None if none does."""
    last: list[Tensor] = []
    found: list[tuple[nn.Module, Tensor, Tensor]] = []

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given, made = hidden_input(args, kwargs), first_tensor(output)
        if last and given is not None and made is not None and given.data_ptr() == last[0].data_ptr():
            found.append((module, given, made))

    with ExitStack() as stack:
        stack.callback(Tap(last_block, "resid_post").read(last.append).remove)
        for module in base.modules():
            if is_norm(module, d_model):
                stack.callback(module.register_forward_hook(after, with_kwargs=True).remove)
        base(input_ids=ids, use_cache=False)
    return recognise(*found[0]) if found else None
