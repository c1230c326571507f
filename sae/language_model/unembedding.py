"""The logit lens: what a direction of the residual stream promotes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

from torch import Tensor, nn

from sae.language_model.hooks import Tap
from sae.language_model.linear_combination import fit
from sae.language_model.module_io import first_tensor, hidden_input, same
from sae.language_model.norms import Norm, is_norm, recognise


class Unembedding(NamedTuple):
    """A direction v [d] of the residual stream promotes token t by (v @ W_U)[t].

    `W_U` is float32 [d, V] with the final norm's weight folded in. If `centered` (LayerNorm) take v's mean out first.
    Logit scaling and soft caps keep the order of tokens and are left out, and so is the norm's own scale.
    """

    W_U: Tensor
    centered: bool


def read_unembedding(model: Any, base: nn.Module, last_block: nn.Module, ids: Tensor) -> Unembedding | str:
    """The unembedding of `model`, proved in a pass over `ids` [B, L]; or why there is none.

    It is there if the input of the output matrix is the last block's output, up to one norm and a constant factor.
    """
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2:
        return f"{type(model).__name__} has no output matrix"
    last, read, norms = _pass(model, base, last_block, head, ids)
    if last is None or read is None or weight.shape[1] != last.shape[-1]:
        return "the output matrix does not read the residual stream"
    if fit(read, [], [last]) is not None:
        return Unembedding(weight.detach().float().T.clone(), centered=False)
    for module, given, made in norms:
        if fit(read, [], [made]) is None:
            continue
        norm = recognise(module, given, made)
        if norm is None:
            return f"the final norm ({type(module).__name__}) is neither a LayerNorm nor an RMSNorm by its outputs"
        return fold(weight, norm)
    return "between the last block and the output matrix there is more than a norm"


def fold(weight: Tensor, norm: Norm) -> Unembedding:
    """The output matrix [V, d] with the gain of the final norm in it."""
    matrix, gain = weight.detach().float().T, norm.gain
    return Unembedding(matrix.clone() if gain is None else matrix * gain[:, None], norm.centered)


def _pass(
    model: Any, base: nn.Module, last_block: nn.Module, head: nn.Module, ids: Tensor
) -> tuple[Tensor | None, Tensor | None, list[tuple[nn.Module, Tensor, Tensor]]]:
    """(the last block's output, the output matrix's input, calls of norms that read the first of these)."""
    last: list[Tensor] = []
    read: list[Tensor] = []
    norms: list[tuple[nn.Module, Tensor, Tensor]] = []

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given, made = hidden_input(args, kwargs), first_tensor(output)
        if last and given is not None and made is not None and same(given, last[0]):
            norms.append((module, given.clone(), made.clone()))

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = hidden_input(args, kwargs)
        if given is not None:
            read.append(given.clone())

    with ExitStack() as stack:
        stack.callback(Tap(last_block, "resid_post").read(lambda value: last.append(value.clone())).remove)
        stack.callback(head.register_forward_pre_hook(before, with_kwargs=True).remove)
        for module in base.modules():
            if is_norm(module):
                stack.callback(module.register_forward_hook(after, with_kwargs=True).remove)
        model(input_ids=ids, use_cache=False)
    return (last[0] if last else None), (read[0] if len(read) == 1 else None), norms
