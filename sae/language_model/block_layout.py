"""Finds where a decoder's hook points are by watching one block work on a few tokens.

No class name is looked at. The block list is the longest list of equal modules; inside a block, attention is what
holds query, key and value projections, norms hold only vectors, the MLP is the other module with matrices. How they
are wired (norms before or after, sequential or parallel residual) is read off the tensors that pass between them, and
the sum that the wiring promises is checked against the block's output before any of it is believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sae.language_model.errors import ModelError
from sae.language_model.norms import Norm, close, is_norm, recognise

_QKV = re.compile(
    r"^(w?qkv(_proj)?|c_attn|query_key_value|in_proj|[qkv]_proj|[qkv]_lin|query|key|value|att_proj)$", re.I
)


@dataclass(frozen=True)
class Layout:
    """Names inside a block (relative to it) where its hook points lie. None: this model has no such point (`why`)."""

    attn_out: str | None = None  # module whose output attention adds to the residual stream
    mlp_out: str | None = None  # the same for the MLP
    resid_mid: str | None = None  # module whose input is the residual stream between attention and MLP
    ln2: str | None = None  # norm in front of the MLP
    ln2_centered: bool = False
    ln2_offset: float = 0.0
    ln2_eps: float = 0.0
    attention: str | None = None  # the attention module itself
    why: dict[str, str] = field(default_factory=dict)

    def norm(self, block: nn.Module) -> Norm:
        """The norm in front of `block`'s MLP."""
        assert self.ln2 is not None
        return Norm(block.get_submodule(self.ln2), self.ln2_centered, self.ln2_offset, self.ln2_eps)


def first_tensor(value: Any) -> Tensor | None:
    """The tensor that a module gave or took: itself, or the first of a tuple."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)) and value and isinstance(value[0], Tensor):
        return value[0]
    return None


def hidden_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The hidden states that a module was called with."""
    return first_tensor(args) if args else first_tensor(kwargs.get("hidden_states"))


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Path and list of the decoder blocks: the longest ModuleList of equal modules that hold attention.

    Raises ModelError if there is none.
    """
    found: list[tuple[int, str, nn.ModuleList]] = []
    for path, module in model.named_modules():
        equal = isinstance(module, nn.ModuleList) and len({type(m) for m in module}) == 1
        if isinstance(module, nn.ModuleList) and equal and any(_holds_qkv(child) for child in module[0].children()):
            found.append((len(module), path, module))
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no list of decoder blocks with attention, so it has no hook points"
        )
    _, path, blocks = max(found, key=lambda item: item[0])
    return path, blocks


def _holds_qkv(module: nn.Module) -> bool:
    return any(_QKV.match(name.rpartition(".")[2]) for name, _ in module.named_modules() if name)


@dataclass
class _Call:
    name: str
    module: nn.Module
    given: Tensor
    made: Tensor


class _Watch:
    """Records, in order, what a block's direct children were given and what they made."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        self.calls: list[_Call] = []
        self.given: Tensor | None = None
        self.made: Tensor | None = None

    def __enter__(self) -> _Watch:
        self._handles = [self.block.register_forward_hook(self._whole, with_kwargs=True)]
        for name, child in self.block.named_children():
            self._handles.append(child.register_forward_hook(self._part(name), with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _whole(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.given, self.made = hidden_input(args, kwargs), first_tensor(output)

    def _part(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given, made = hidden_input(args, kwargs), first_tensor(output)
            if given is not None and made is not None:
                # References keep the memory alive, so that equal addresses mean the same tensor.
                self.calls.append(_Call(name, module, given, made))

        return hook


def _same(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape


def discover(block: nn.Module, run: Callable[[], object], d_model: int) -> Layout:
    """The layout of `block`, from one pass of `run()`, which must call the block once on a few tokens."""
    with _Watch(block) as watch:
        run()
    if watch.given is None or watch.made is None:
        return Layout(why=dict.fromkeys(("attn_out", "mlp_out", "resid_mid", "ln2"), "its blocks hide their tensors"))
    norms = [c for c in watch.calls if is_norm(c.module, d_model)]
    attention = [c for c in watch.calls if _holds_qkv(c.module)]
    rest = [c for c in watch.calls if c not in norms and c not in attention and _has_matrices(c.module)]
    if len(attention) != 1 or len(rest) != 1:
        text = f"its blocks have {len(attention)} attention and {len(rest)} MLP modules where one of each was expected"
        return Layout(
            attention=attention[0].name if len(attention) == 1 else None,
            why=dict.fromkeys(("attn_out", "mlp_out", "resid_mid", "ln2"), text),
        )
    return _wire(block, run, watch, norms, attention[0], rest[0])


def _has_matrices(module: nn.Module) -> bool:
    return any(p.dim() >= 2 for p in module.parameters())


def _wire(
    block: nn.Module, run: Callable[[], object], watch: _Watch, norms: list[_Call], attention: _Call, mlp: _Call
) -> Layout:
    assert watch.given is not None
    assert watch.made is not None
    attn_out = next((n for n in norms if _same(n.given, attention.made)), attention)
    mlp_out = next((n for n in norms if _same(n.given, mlp.made)), mlp)
    ln2 = next((n for n in norms if _same(n.made, mlp.given)), None)
    entry = ln2 or mlp  # what reads the residual stream for the MLP
    parallel = _same(entry.given, watch.given) or (ln2 is not None and _same(ln2.made, attention.given))
    why: dict[str, str] = {}
    if parallel:
        total = watch.given + attn_out.made + mlp_out.made
        why["resid_mid"] = "attention and MLP read the same residual stream (parallel residual), so there is no middle"
    else:
        total = entry.given + mlp_out.made
    adds = close(total, watch.made) and (parallel or close(watch.given + attn_out.made, entry.given))
    if not adds:
        text = "its blocks do not simply add attention and MLP outputs to the residual stream"
        return Layout(attention=attention.name, why=dict.fromkeys(("attn_out", "mlp_out", "resid_mid", "ln2"), text))
    if not parallel and not _middle_is_the_stream(block, run, entry.name, mlp_out.name):
        why["resid_mid"] = "the tensor in front of the MLP is a copy of the residual stream"
    norm: Norm | None = None
    if ln2 is None:
        why["ln2"] = "no norm stands in front of the MLP"
    else:
        try:
            norm = recognise(ln2.module, ln2.given, ln2.made)
        except ModelError as error:
            why["ln2"] = str(error)
    return Layout(
        attn_out=attn_out.name,
        mlp_out=mlp_out.name,
        resid_mid=None if "resid_mid" in why else entry.name,
        ln2=None if ln2 is None or norm is None else ln2.name,
        ln2_centered=norm is not None and norm.centered,
        ln2_offset=norm.offset if norm is not None else 0.0,
        ln2_eps=norm.eps if norm is not None else 0.0,
        attention=attention.name,
        why=why,
    )


def _middle_is_the_stream(block: nn.Module, run: Callable[[], object], entry: str, mlp_out: str) -> bool:
    """True if changing the MLP's input tensor in place changes the residual stream too: what a replacement needs."""
    changed: list[Tensor] = []

    def change(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        middle = hidden_input(args, kwargs)
        assert middle is not None
        middle.add_(torch.linspace(-1, 1, middle.shape[-1], dtype=middle.dtype, device=middle.device))
        changed.append(middle)

    handle = block.get_submodule(entry).register_forward_pre_hook(change, with_kwargs=True)
    try:
        with _Watch(block) as watch:
            run()
    finally:
        handle.remove()
    added = next(c.made for c in watch.calls if c.name == mlp_out)
    return watch.made is not None and close(changed[0] + added, watch.made)
