"""The rest of a forward pass, run again and again from one hook, with other values there each time.

What comes before the hook is computed once. Then every block before it returns at once what is known of it, and the
model's own code runs on from there. Whether that gives what whole passes give is tried once for each model and block;
where it does not (blocks that read what earlier ones stored elsewhere, such as shared keys and values), whole passes
are run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from sae.language_model.errors import ModelError
from sae.language_model.hooks import HookPoint
from sae.language_model.model import LanguageModel
from sae.language_model.module_io import hidden_input, map_tensors, with_first, with_hidden
from sae.language_model.norms import close

_EXACT: WeakKeyDictionary[LanguageModel, dict[int, bool]] = (
    WeakKeyDictionary()
)  # whether blocks before one can be skipped


_BLOCK = 1 << 24  # elements of the output matrix that are widened at once


class _Stop(Exception):
    """Ends a forward pass: what was wanted has been seen."""


class ResumedForward:
    """A pass over `input_ids` int64 [B, L] that stops at `hook`; `document` as in LanguageModel.run_to.

    `activations` is the hook's value [B, L, d], in the model's dtype. Raises ModelError.
    """

    def __init__(self, lm: LanguageModel, input_ids: Tensor, hook: HookPoint, document: Tensor | None = None) -> None:
        first = _first_block(hook)
        self._start(lm, lm._inputs(input_ids, document), hook, first if _skips_exactly(lm, hook) else 0)

    def _start(self, lm: LanguageModel, inputs: dict[str, Any], hook: HookPoint, first: int) -> None:
        self._lm, self._hook, self._inputs = lm, hook, inputs
        self._first = first  # the first block that runs again
        self._entry: Tensor | None = None  # what that block is given
        self._outputs: list[Any] = [None] * lm.n_layers  # what the blocks before it return beside their hidden states
        self.activations = self._run_to_hook()

    @torch.no_grad()
    def final_states(self, value: Tensor, keep: Tensor, others: Sequence[tuple[HookPoint, Tensor]] = ()) -> Tensor:
        """Input of the output matrix [n, d_model] where `keep` is true, with `value` at the hook instead.

        `value` [b, L, d] and `keep` bool [b, L] are for the first b rows. `others`: values at further hooks, none of which
        belongs to a block before this hook's.
        """
        rows, batch = len(value), self._inputs["input_ids"].shape
        inputs = {k: v[:rows] if isinstance(v, Tensor) else v for k, v in self._inputs.items()}
        outputs = map_tensors(self._outputs, lambda t: t[:rows] if t.dim() and len(t) == batch[0] else t)
        entry = None if self._entry is None else self._entry[:rows]
        states = self.end(inputs, value, entry, outputs, others)
        return states[keep.to(states.device)]

    @torch.no_grad()
    def end(
        self,
        inputs: dict[str, Any],
        value: Tensor,
        entry: Tensor | None,
        outputs: Sequence[Any],
        others: Sequence[tuple[HookPoint, Tensor]] = (),
    ) -> Tensor:
        """Input of the output matrix [b, L, d_model] of a pass over `inputs` with `value` [b, L, d] at the hook.

        `entry`: what the first block that runs is given; `outputs`: what the blocks before it return beside hidden states.
        """
        value, found = value.to(self.activations.dtype), list[Tensor]()

        def take(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            states = hidden_input(args, kwargs)
            assert states is not None
            found.append(states)
            raise _Stop

        with self._lm._lock, ExitStack() as stack:
            shape = inputs["input_ids"].shape
            if self._hook.kind == "resid_post" and self._first:
                stack.enter_context(_skipping(self._lm, self._first, value, outputs))
            else:
                stack.enter_context(_skipping(self._lm, self._first, entry, outputs))
                stack.callback(self._lm._tap(self._hook, shape).replace(lambda _: value).remove)
            for hook, new in others:
                given = partial(_given, new.to(self.activations.dtype))
                stack.callback(self._lm._tap(hook, shape).replace(given).remove)
            stack.callback(_output_matrix(self._lm).register_forward_pre_hook(take, with_kwargs=True).remove)
            with suppress(_Stop):
                self._lm._model(**inputs)
        return found[0]

    @property
    def entry(self) -> Tensor | None:
        """What the first block that runs again is given [B, L, d_model]; None if that is the embedding's own."""
        return self._entry

    @property
    def outputs(self) -> list[Any]:
        """What the skipped blocks return beside their hidden states."""
        return self._outputs

    @torch.no_grad()
    def _run_to_hook(self) -> Tensor:
        found: list[Tensor] = []

        def take(value: Tensor) -> None:
            found.append(value)
            raise _Stop

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entry = hidden_input(args, kwargs)
            self._entry = None if entry is None else entry.clone()

        def keep(layer: int) -> Callable[..., None]:
            def hook(module: nn.Module, args: object, output: Any) -> None:
                self._outputs[layer] = _rest(output)

            return hook

        lm = self._lm
        with lm._lock, ExitStack() as stack:
            for layer in range(self._first):
                stack.callback(lm._blocks[layer].register_forward_hook(keep(layer)).remove)
            if 0 < self._first < lm.n_layers:
                block = lm._blocks[self._first]
                stack.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
            tap = lm._tap(self._hook, self._inputs["input_ids"].shape)
            stack.callback(tap.read(take).remove)
            with suppress(_Stop):
                lm._base(**self._inputs)
        if not found:
            raise ModelError(f"the model's pass does not reach {self._hook.name}")
        return found[0]


@torch.no_grad()
def logits_of(lm: LanguageModel, states: Tensor) -> Tensor:
    """Logits [n, V] of inputs of the output matrix [n, d_model], with all that the model does to logits after it.

    The output matrix is applied in float32: in half precision its rounding would be as large as small differences of loss.
    """

    def put(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return with_hidden(args, kwargs, states[None])

    with lm._lock, ExitStack() as stack:
        stack.enter_context(_skipping(lm, lm.n_layers, None, [_rest(output) for output in lm._block_outputs]))
        stack.callback(_output_matrix(lm).register_forward_pre_hook(put, with_kwargs=True).remove)
        stack.enter_context(_float32_product(_output_matrix(lm)))
        logits: Tensor = lm._model(input_ids=lm._probe_ids()[:, :1], use_cache=False).logits
    return logits[0]


@contextmanager
def _float32_product(head: nn.Module) -> Iterator[None]:
    """Has a linear layer of half precision multiply in float32, its weight a block of rows at a time."""
    if type(head) is not nn.Linear or head.weight.dtype == torch.float32:
        yield
        return

    def forward(x: Tensor) -> Tensor:
        wide = x.float()
        blocks = torch.split(head.weight, max(1, _BLOCK // head.in_features))
        products = [wide @ rows.float().T for rows in blocks]
        out = torch.cat(products, dim=-1)
        return out if head.bias is None else out + head.bias.float()

    head.__dict__["forward"] = forward
    try:
        yield
    finally:
        del head.__dict__["forward"]


def _given(value: Tensor, _: Tensor) -> Tensor:
    return value


def first_hook(hooks: Sequence[HookPoint]) -> int:
    """Which of several hooks a pass that replaces all of them resumes from: none of the others comes before its block."""
    return min(range(len(hooks)), key=lambda i: (_first_block(hooks[i]), hooks[i].kind != "resid_post"))


def _first_block(hook: HookPoint) -> int:
    """The first block that has to run again; resid_post is the output of its block, which then need not."""
    return 0 if hook.layer is None else hook.layer + (hook.kind == "resid_post")


@torch.no_grad()
def _skips_exactly(lm: LanguageModel, hook: HookPoint) -> bool:
    """Whether passes that skip the blocks before `hook` end as whole passes do, tried once for each block.

    Raises ModelError if the model's logits cannot be computed from the input of its output matrix.
    """
    known = _EXACT.setdefault(lm, {})
    first = _first_block(hook)
    if first in known:
        return known[first]
    ids = lm._probe_rows
    keep = torch.ones_like(ids[:2], dtype=torch.bool)
    whole = ResumedForward.__new__(ResumedForward)
    whole._start(lm, lm._inputs(ids, None), hook, 0)
    value = whole.activations[:2].clone()
    value.mul_(torch.linspace(0.5, 1.5, value.shape[-1], dtype=value.dtype, device=value.device))
    states = whole.final_states(value, keep)
    logits = lm.logits(ids[:2], replace=(hook, lambda _: value))[keep]
    if not bool(torch.isfinite(logits).all()):
        return False  # nothing can be seen in such values; whoever reads them says so
    if not close(logits_of(lm, states), logits):
        raise ModelError(f"{type(lm._model).__name__} computes its logits from more than its last hidden states")
    known[first] = first == 0 or _ends_alike(lm, hook, value, keep, states)
    return known[first]


def _ends_alike(lm: LanguageModel, hook: HookPoint, value: Tensor, keep: Tensor, states: Tensor) -> bool:
    resumed = ResumedForward.__new__(ResumedForward)
    try:
        resumed._start(lm, lm._inputs(lm._probe_rows, None), hook, _first_block(hook))
        return close(resumed.final_states(value, keep), states)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 (the model's own code misses what a skipped block would have left somewhere)
        return False


@contextmanager
def _skipping(lm: LanguageModel, first: int, value: Tensor | None, outputs: Sequence[Any]) -> Iterator[None]:
    """Blocks before `first` pass their input on; the last of them gives `value` if there is one."""
    with ExitStack() as stack:
        for layer in range(first):
            block = lm._blocks[layer]
            stack.callback(_restore, block, block.__dict__.get("forward"))
            block.forward = _pass(value if layer == first - 1 else None, outputs[layer])
        yield


def _pass(value: Tensor | None, output: Any) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        # A copy, as a block may add to its input in place.
        hidden = hidden_input(args, kwargs) if value is None else value.clone()
        return hidden if output is None or hidden is None else with_first(output, hidden)

    return forward


def _rest(output: Any) -> Any:
    """A block's output without the hidden states in it; None if they are all there is."""
    return None if output is None or isinstance(output, Tensor) else type(output)((None, *output[1:]))


def _restore(block: nn.Module, forward: Any) -> None:
    if forward is None:
        del block.__dict__["forward"]
    else:
        block.__dict__["forward"] = forward


def _output_matrix(lm: LanguageModel) -> nn.Module:
    head = lm._model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(lm._model).__name__} has no output embeddings, so it predicts no tokens")
    module: nn.Module = head
    return module
