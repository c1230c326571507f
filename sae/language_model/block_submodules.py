"""Finds where the hook points inside a decoder block are, by running the block on its own and adding up what it adds.

No class or module name is looked at. A block turns x into y. Its token mixers (attention and the like) are the modules
whose output at a position depends on other positions; the MLP is what works on each position alone. A hook point is
offered only where the sums hold: x + mixer = middle and middle + MLP = y (sequential), or x + mixer + MLP = y
(parallel), each up to one constant factor (such as Granite's residual multiplier) and rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sae.language_model.decoder_blocks import BlockCall
from sae.language_model.linear_combination import fit
from sae.language_model.module_io import first_tensor, hidden_input, map_tensors, same, with_hidden
from sae.language_model.norms import Norm, is_norm, recognise

Inner = Literal["attn_out", "resid_mid", "mlp_out", "ln2_normalized"]
INNER: tuple[Inner, ...] = ("attn_out", "resid_mid", "ln2_normalized", "mlp_out")  # in the order of computation

_NOT_A_SUM = "the block does not simply add attention and MLP outputs to the residual stream"


@dataclass(frozen=True)
class Layout:
    """Where the hook points of one block are: module paths relative to the block.

    `paths` holds those that exist: for attn_out and mlp_out a module whose output is added to the residual stream, for
    resid_mid one whose input is the stream between attention and MLP, for ln2_normalized the norm in front of the MLP.
    `why` says of each of the others why there is none.
    """

    paths: dict[Inner, str] = field(default_factory=dict)
    why: dict[Inner, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()  # all modules whose outputs are added to the stream, attention or not
    mixers: tuple[str, ...] = ()  # modules whose output at a position depends on other positions
    attention: tuple[str, ...] = ()  # those of them that are softmax attention
    flat: frozenset[Inner] = frozenset()  # those whose value is [rows * tokens, d]
    ln2_centered: bool = False
    ln2_offset: float = 0.0
    ln2_eps: float = 0.0

    def norm(self, block: nn.Module) -> Norm:
        """The norm in front of `block`'s MLP."""
        module = block.get_submodule(self.paths["ln2_normalized"])
        return Norm(module, self.ln2_centered, self.ln2_offset, self.ln2_eps)


def no_layout(why: str) -> Layout:
    """The layout of a block without hook points inside it, for one reason."""
    return Layout(why=dict.fromkeys(INNER, why))


@dataclass
class _Call:
    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: Tensor
    made: Tensor
    order: int  # of its end

    @property
    def depth(self) -> int:
        return self.name.count(".")


class Layouts:
    """The layout of each block, found from replays of one call of it when it is first read; None without a call.

    Which modules mix positions is found once for blocks made of the same modules; the sums are checked in each.
    """

    def __init__(self, blocks: Iterable[nn.Module], calls: Iterable[BlockCall | None]) -> None:
        self._blocks, self._calls = list(blocks), list(calls)
        self._found: dict[int, Layout | None] = {}
        self._alike: dict[Any, Layout] = {}

    def __len__(self) -> int:
        return len(self._blocks)

    def runs(self, layer: int) -> bool:
        """Whether the block runs on text."""
        return self._calls[layer] is not None

    def __iter__(self) -> Iterator[Layout | None]:
        return (self[layer] for layer in range(len(self)))

    @torch.no_grad()
    def __getitem__(self, layer: int) -> Layout | None:
        if layer not in self._found:
            block, call = self._blocks[layer], self._calls[layer]
            made_of = tuple((name, type(module)) for name, module in block.named_modules())
            layout = None if call is None else _layout(block, call, self._alike.get(made_of))
            if layout is not None:
                self._alike.setdefault(made_of, layout)
            self._found[layer] = layout
        return self._found[layer]


def _layout(block: nn.Module, call: BlockCall, like: Layout | None) -> Layout:
    trace = _Trace(block, call)
    if trace.made is None or not same(trace.made, call.made):
        return no_layout("the block cannot be run by itself")
    search = _Search(block, call, trace.calls, like)
    return replace(search.layout(), mixers=tuple(m.name for m in search.mixers), attention=search.attention)


class _Trace:
    """One replay of a block: the calls of all modules that read or return as many values as it, in order of their ends."""

    def __init__(self, block: nn.Module, call: BlockCall, hidden: Tensor | None = None) -> None:
        self.calls: list[_Call] = []
        seen: dict[str, int] = {}
        size = call.given.numel()

        def before(name: str, begun: list[Any]) -> Callable[..., None]:
            def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                seen[name] = seen.get(name, 0) + 1
                given = hidden_input(args, kwargs)
                copies = map_tensors(args, Tensor.clone), map_tensors(kwargs, Tensor.clone)
                begun.append((*copies, None if given is None else given.clone()))

            return hook

        def after(name: str, begun: list[Any]) -> Callable[..., None]:
            def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
                args, kwargs, given = begun.pop()
                made = first_tensor(output)
                if given is None or made is None or not made.is_floating_point():
                    return
                if size in (given.numel(), made.numel()):
                    self.calls.append(_Call(name, module, args, kwargs, given, made.clone(), len(self.calls)))

            return hook

        with ExitStack() as stack:
            for name, module in block.named_modules():
                if name:
                    begun: list[Any] = []
                    stack.callback(module.register_forward_pre_hook(before(name, begun), with_kwargs=True).remove)
                    stack.callback(module.register_forward_hook(after(name, begun), with_kwargs=True).remove)
            self.made = first_tensor(call.replay(block, hidden))
        self.calls = [c for c in self.calls if seen[c.name] == 1]


class _Search:
    """The search for the sums of one block."""

    def __init__(self, block: nn.Module, call: BlockCall, calls: list[_Call], like: Layout | None) -> None:
        self.block, self.call, self.calls, self.like = block, call, calls, like
        self.x, self.y = call.given, call.made
        self.mixers = self._mixers() if like is None else [c for c in calls if c.name in like.mixers]
        self.attention = like.attention if like else tuple(c.name for c in self.mixers if _attends(c, self.x))

    def layout(self) -> Layout:
        mixed = [self._candidates(mixer) for mixer in self.mixers]
        if len(mixed) > 2:
            return no_layout(f"the block has {len(mixed)} modules that mix positions")
        if not mixed:
            return self._without_mixer()
        for middle in self._stream_after(self.x):
            for added in product(*mixed):
                if fit(middle.given, [self.x], [c.made for c in added]) is not None:
                    layout = self._sequential(middle, added)
                    if layout is not None:
                        return layout
        return self._without_middle(mixed)

    def _sequential(self, middle: _Call, added: Sequence[_Call]) -> Layout | None:
        """The layout with the input of `middle` as the stream in front of the MLP; None if no MLP adds to that."""
        later = [c for c in self._outside_mixers() if c.order > max(a.order for a in added)]
        ends = [self.y, *(c.given for c in self._stream_after(middle.given))]
        for mlp, end in product(later, ends):
            if fit(end, [middle.given], [mlp.made], scaled=True) is not None:
                return self._checked(self._named(middle, added, mlp), middle, mlp)
        return None

    def _outside_mixers(self) -> list[_Call]:
        return [c for c in self._with_parameters() if not any(_inside(c.name, mixer.name) for mixer in self.mixers)]

    def _without_middle(self, mixed: list[list[_Call]]) -> Layout:
        for added in product(*mixed):
            if fit(self.y, [self.x], [c.made for c in added], scaled=True) is not None:
                return self._only(added, None)
        for mlp in self._outside_mixers():
            for added in product(*mixed):
                if fit(self.y, [self.x], [*(c.made for c in added), mlp.made], scaled=True) is not None:
                    return self._named(None, added, mlp)
        return no_layout(_NOT_A_SUM)

    def _without_mixer(self) -> Layout:
        for mlp in self._with_parameters():
            if fit(self.y, [self.x], [mlp.made], scaled=True) is not None:
                return self._only((), mlp)
        return no_layout(_NOT_A_SUM)

    def _only(self, added: Sequence[_Call], mlp: _Call | None) -> Layout:
        """The layout of a block that adds one thing only: what its mixers give, or what its MLP gives."""
        text = "the block has no MLP, only a token mixer" if mlp is None else "the block has no attention, only an MLP"
        layout = no_layout(text)
        return self._with_outputs(layout, added, mlp)

    def _with_outputs(self, layout: Layout, added: Sequence[_Call], mlp: _Call | None) -> Layout:
        paths, why = dict(layout.paths), dict(layout.why)
        outputs: list[tuple[Inner, _Call]] = [("mlp_out", mlp)] if mlp is not None else []
        if len(added) == 1 and self.attention:
            outputs.append(("attn_out", added[0]))
        elif len(added) > 1:
            why["attn_out"] = "the block has more than one module that mixes positions"
        elif added:
            why["attn_out"] = (
                f"the block's token mixer is not softmax attention; its output is that of {added[0].name!r}"
            )
        for kind, call in outputs:
            paths[kind] = call.name
            why.pop(kind, None)
        return replace(
            layout,
            paths=paths,
            why=why,
            added=tuple(c.name for c in (*added, *([mlp] if mlp is not None else []))),
            flat=frozenset(kind for kind, call in outputs if call.made.shape != self.x.shape),
        )

    def _named(self, middle: _Call | None, added: Sequence[_Call], mlp: _Call) -> Layout:
        layout = self._with_outputs(Layout(), added, mlp)
        paths, why = dict(layout.paths), dict(layout.why)
        flat: set[Inner] = set(layout.flat)
        if middle is not None:
            paths["resid_mid"] = middle.name
            flat |= {"resid_mid"} if middle.given.shape != self.x.shape else set()
            norms = self._norms_of(middle.given, [])
        else:
            why["resid_mid"] = "attention and MLP read the same residual stream (parallel residual): there is no middle"
            norms = self._norms_of(self.x, [mixer.given for mixer in self.mixers])
        known = recognise(norms[0].module, norms[0].given, norms[0].made) if len(norms) == 1 else None
        if known is None:
            why["ln2_normalized"] = (
                f"{type(norms[0].module).__name__} is neither a LayerNorm nor an RMSNorm by its outputs"
                if len(norms) == 1
                else f"{f'{len(norms)} norms are' if norms else 'no norm is'} in front of the MLP alone"
            )
            return replace(layout, paths=paths, why=why, flat=frozenset(flat))
        paths["ln2_normalized"] = norms[0].name
        flat |= {"ln2_normalized"} if norms[0].given.shape != self.x.shape else set()
        return replace(
            layout,
            paths=paths,
            why=why,
            flat=frozenset(flat),
            ln2_centered=known.centered,
            ln2_offset=known.offset,
            ln2_eps=known.eps,
        )

    def _norms_of(self, stream: Tensor, others: Sequence[Tensor]) -> list[_Call]:
        """The outermost norms that read the stream, but for those whose output is one of `others`."""
        norms = [c for c in self.calls if _equal(c.given, stream) and is_norm(c.module)]
        norms = [c for c in norms if not any(_equal(c.made, other) for other in others)]
        return [c for c in norms if c.depth == min(n.depth for n in norms)]

    def _checked(self, layout: Layout, middle: _Call, mlp: _Call) -> Layout:
        """`layout` without resid_mid if a value put there would reach the MLP but not the residual stream."""
        if self.like is not None and self.like.paths == layout.paths:
            return layout
        changed: list[Tensor] = []

        def change(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            value = hidden_input(args, kwargs)
            assert value is not None
            value.mul_(torch.linspace(0.5, 1.5, value.shape[-1], dtype=value.dtype, device=value.device))
            changed.append(value.clone())

        handle = middle.module.register_forward_pre_hook(change, with_kwargs=True)
        try:
            trace = _Trace(self.block, self.call)
        finally:
            handle.remove()
        made = next((c.made for c in trace.calls if c.name == mlp.name), None)
        ends = [c.given for c in trace.calls] if trace.made is None else [trace.made, *(c.given for c in trace.calls)]
        if made is not None and any(fit(end, [changed[0]], [made], scaled=True) is not None for end in ends):
            return layout
        paths = dict(layout.paths)
        del paths["resid_mid"]
        why: dict[Inner, str] = {**layout.why, "resid_mid": "the MLP reads a copy of the residual stream"}
        return replace(layout, paths=paths, why=why)

    # -- parts of the search -------------------------------------------------------------------------------------

    def _mixers(self) -> list[_Call]:
        """The outermost modules whose output at a position depends on other positions."""
        found: list[_Call] = []
        for call in sorted(self.calls, key=lambda c: (c.depth, c.order)):
            inner = any(_inside(call.name, mixer.name) for mixer in found)
            has_parameters = any(True for _ in call.module.parameters())
            if not inner and has_parameters and (_mixes(call, self.x) or _attends(call, self.x)):
                found.append(call)
        return found

    def _candidates(self, mixer: _Call) -> list[_Call]:
        """What may be the mixer's contribution: a norm of its output, the output, or an output inside it."""
        norms = [c for c in self.calls if c.order > mixer.order and _equal(c.given, mixer.made) and _is_kept(c.module)]
        inner = [c for c in reversed(self.calls) if _inside(c.name, mixer.name) and c is not mixer]
        return [*norms, mixer, *inner]

    def _with_parameters(self) -> list[_Call]:
        """Calls that can be a contribution: outermost first, then the latest first."""
        return sorted((c for c in self.calls if _is_kept(c.module)), key=lambda c: (c.depth, -c.order))

    def _stream_after(self, before: Tensor) -> list[_Call]:
        """Calls whose input may be the residual stream after `before`: of each distinct value the outermost, in order."""
        found: list[_Call] = []
        for call in self.calls:
            if call.given.numel() != before.numel() or _equal(call.given, before):
                continue
            same = next((i for i, other in enumerate(found) if _equal(call.given, other.given)), None)
            if same is None:
                found.append(call)
            elif call.depth < found[same].depth:
                found[same] = call
        return found


def _is_kept(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or "norm" in type(module).__name__.lower()


def _inside(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.numel() == b.numel() and torch.equal(a.reshape(-1).float(), b.reshape(-1).float())


def _mixes(call: _Call, x: Tensor) -> bool:
    """Whether a module's output at some position changes when only the first position of its input does."""
    if call.given.shape != x.shape or call.made.shape != x.shape:
        return False
    changed = call.given.clone()
    changed[:, 0] = changed[:, 0].flip(-1) + 0.5
    args, kwargs = map_tensors(call.args, Tensor.clone), map_tensors(call.kwargs, Tensor.clone)
    args, kwargs = with_hidden(args, kwargs, changed)
    try:
        made = first_tensor(call.module(*args, **kwargs))
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError):
        return False
    return made is not None and not torch.allclose(made[:, 1:].float(), call.made[:, 1:].float(), rtol=1e-2, atol=1e-6)


class _AttentionMode(TorchFunctionMode):
    """Sees whether attention weights are computed while it is entered: a fused attention, or a softmax over [B, H, L, L]."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        over_positions = name == "softmax" and isinstance(args[0] if args else None, Tensor) and args[0].dim() >= 4
        self.seen |= over_positions or name in ("scaled_dot_product_attention", "flex_attention")
        return func(*args, **(kwargs or {}))


def _attends(call: _Call, x: Tensor) -> bool:
    """Whether a module is softmax attention. One that takes keys and values from an earlier block mixes them too."""
    if call.given.shape != x.shape or call.made.shape != x.shape:
        return False
    with _AttentionMode() as mode:
        args, kwargs = map_tensors(call.args, Tensor.clone), map_tensors(call.kwargs, Tensor.clone)
        call.module(*args, **kwargs)
    return bool(mode.seen)
