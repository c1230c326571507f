"""A pass over a few tokens that shows what a model does: which modules are its decoder blocks, and whether it is causal.

No class name is looked at. The blocks are the modules of the list in which each takes the output of the one before it;
a causal model computes the same at a position whatever comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sae.language_model.errors import CannotRun, ModelError
from sae.language_model.loading import refusing
from sae.language_model.module_io import first_tensor, hidden_input, map_tensors, same, with_first, with_hidden

ROWS, LENGTH = 3, 8  # of the probe
CHANGED = 3  # tokens at the end of a row that differ between the rows
_FIRST_ID = 11  # ids before it are often special tokens


@dataclass
class BlockCall:
    """A call of a block: its arguments, the hidden states among them, what it returned, and the first tensor of that."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: Tensor
    output: Any
    made: Tensor

    def replay(self, block: nn.Module, hidden: Tensor | None = None) -> Any:
        """What `block` returns for the same arguments, with other hidden states if given. Changes no argument."""
        args, kwargs = map_tensors(self.args, Tensor.clone), map_tensors(self.kwargs, Tensor.clone)
        args, kwargs = with_hidden(args, kwargs, (self.given if hidden is None else hidden).clone())
        return block(*args, **kwargs)


@dataclass
class Probe:
    """What one pass over `ids` showed. `calls[i]` are the calls of block i: none if it does not run on text."""

    ids: Tensor
    path: str
    blocks: nn.ModuleList
    calls: list[list[BlockCall]]
    hidden_states: tuple[Tensor, ...] | None  # as the model itself reports them
    last: Tensor | None  # its last hidden states

    @property
    def running(self) -> list[int]:
        """Indices of the blocks that ran."""
        return [index for index, calls in enumerate(self.calls) if calls]

    @property
    def first(self) -> BlockCall:
        """The first call of the first block that ran."""
        return self.calls[self.running[0]][0]


def probe_ids(vocab_size: int, device: torch.device) -> Tensor:
    """Token ids, int64 [3, 8]: equal rows but for their last three tokens; the second row repeats one token there."""
    step = max(1, (vocab_size // 2 - _FIRST_ID) // (LENGTH + CHANGED))
    ids = (_FIRST_ID + step * torch.arange(LENGTH + CHANGED, device=device)) % vocab_size
    rows = ids[:LENGTH].repeat(ROWS, 1)
    rows[1, -CHANGED:] = ids[0]
    rows[2, -CHANGED:] = ids[LENGTH:]
    return rows


@torch.no_grad()
def probe(base: nn.Module, vocab_size: int, device: torch.device) -> Probe:
    """Runs `base`, the part of a language model before its output matrix. Raises ModelError: no blocks, or no pass."""
    ids = probe_ids(vocab_size, device)
    lists = {path: m for path, m in base.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    order: dict[str, list[tuple[int, BlockCall]]] = {path: [] for path in lists}
    with ExitStack() as stack:
        for path, modules in lists.items():
            for index, module in enumerate(modules):
                _record(module, index, order[path], stack)
        output = run(base, input_ids=ids, output_hidden_states=True)
    path = max(order, key=lambda path: (_links(order[path], ids), -path.count(".")), default="")
    if not path or _links(order[path], ids) < 1:
        again = any(len(calls) > len({index for index, _ in calls}) for calls in order.values())
        raise ModelError(
            f"{type(base).__name__} has no hook points: it has no list of decoder blocks in which each takes the output "
            "of the one before" + (", and some of its blocks run more than once in a pass" if again else "")
        )
    calls: list[list[BlockCall]] = [[] for _ in lists[path]]
    for index, call in order[path]:
        calls[index].append(call)
    states = getattr(output, "hidden_states", None)
    states = states if isinstance(states, tuple) and states else None
    return Probe(ids, path, lists[path], calls, states, getattr(output, "last_hidden_state", None))


def run(base: nn.Module, **inputs: Any) -> Any:
    """One pass. Raises CannotRun with the model's own reason if it cannot read plain rows of tokens."""
    try:
        with refusing(f"{type(base).__name__} cannot be run on rows of token ids alone"):
            return base(**inputs, use_cache=False)
    except ModelError as error:
        raise CannotRun(str(error)) from error


def _record(module: nn.Module, index: int, calls: list[tuple[int, BlockCall]], stack: ExitStack) -> None:
    begun: list[tuple[tuple[Any, ...], dict[str, Any], Tensor] | None] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = hidden_input(args, kwargs)
        copies = (map_tensors(args, Tensor.clone), map_tensors(kwargs, Tensor.clone))
        begun.append(None if given is None else (*copies, given.clone()))

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        start, made = begun.pop(), first_tensor(output)
        if start is not None and made is not None:
            calls.append((index, BlockCall(*start, output, made.clone())))

    stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    stack.callback(module.register_forward_hook(after, with_kwargs=True).remove)


def _links(calls: Sequence[tuple[int, BlockCall]], ids: Tensor) -> int:
    """How many modules of a list form a chain, each reading what the one before returned; 0 if they are no chain."""
    for (_, one), (_, two) in pairwise(calls):
        if not same(one.made, two.given):
            return 0
    whole = [call for _, call in calls if call.given.shape == call.made.shape and call.given.numel() >= ids.numel()]
    return len(whole) if len(whole) == len(calls) else 0


def check_causal(probe: Probe, name: str) -> None:
    """Raises ModelError if what the model computes at a position depends on later tokens."""
    values = [call.made for layer in probe.running for call in probe.calls[layer]]
    for value in [*values, *([probe.last] if probe.last is not None else [])]:
        if value.dim() < 3 or value.shape[:2] != probe.ids.shape:
            continue
        early = value[:, :-CHANGED].float()
        change, scale = (early - early[:1]).abs(), early.pow(2).mean().sqrt()
        half = value.dtype not in (torch.float32, torch.float64)
        bound = (2.0**-5 if half else 2.0**-13) * early.abs() + (3e-2 if half else 1e-3) * scale
        if bool((change > bound).any()):
            raise ModelError(
                f"{name} is not causal: when the last tokens of a row change, what it computes for the tokens before "
                f"them changes too (by {float(change.max() / scale):.2g} of its size). RayLens needs a causal language "
                "model; if this can be one, its config must say so (for example is_decoder: true or is_causal: true)"
            )


def residual_problem(base: nn.Module, probe: Probe) -> str:
    """Why the residual stream between the blocks cannot be hooked; empty if it can, which has then been proved."""
    calls = [probe.calls[layer] for layer in probe.running]
    if most := max(len(c) for c in calls) - 1:
        return f"the model runs its blocks more than once in a pass (up to {most + 1} times), so no hook has one value"
    shape = tuple(probe.first.given.shape)
    if len(shape) != 3 or shape[:2] != tuple(probe.ids.shape) or any(c.made.shape != shape for (c,) in calls):
        return f"its blocks pass tensors of shape {list(shape)} for 3 rows of 8 tokens, not one vector for each token"
    if matches_hidden_states(probe) is False:
        return "what passes between its blocks is not what the model reports as its hidden states"
    if not splices(base, probe):
        return "a value that is put in place of a block's output is not what the next block reads"
    return ""


@torch.no_grad()
def splices(base: nn.Module, probe: Probe) -> bool:
    """Whether what is put in place of each block's output is what the next block reads, in one pass over the probe."""
    running = probe.running
    put: dict[int, Tensor] = {}
    read: dict[int, Tensor] = {}

    def replace(layer: int) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            made = first_tensor(output)
            assert made is not None
            wave = torch.linspace(0.5, 1.5, made.shape[-1], dtype=made.dtype, device=made.device)
            put[layer] = made * wave
            return with_first(output, put[layer].clone())

        return hook

    def take(layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = hidden_input(args, kwargs)
            if given is not None:
                read[layer] = given.clone()

        return hook

    with ExitStack() as stack:
        for layer in running:
            stack.callback(probe.blocks[layer].register_forward_hook(replace(layer)).remove)
            stack.callback(probe.blocks[layer].register_forward_pre_hook(take(layer), with_kwargs=True).remove)
        run(base, input_ids=probe.ids)
    return all(two in read and same(put[one], read[two]) for one, two in pairwise(running))


def matches_hidden_states(probe: Probe) -> bool | None:
    """Whether the blocks' inputs, or outputs, are the hidden states that the model reports; None if it reports none."""
    states = probe.hidden_states
    calls = [probe.calls[layer][0] for layer in probe.running]
    if states is None or len(states) < len(calls):
        return None
    return any(
        all(same(value, state) for value, state in zip(values, states, strict=False))
        for values in ([call.given for call in calls], [call.made for call in calls])
    )
