"""The rest of a forward pass, run again and again from one hook, with other values there each time.

What comes before the hook is computed once. Then every block before it gives back at once what is known of it, and the
model's own code runs on from there, so that nothing about a model's inside is assumed beyond its list of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from sae.language_model.block_layout import hidden_input
from sae.language_model.errors import ModelError
from sae.language_model.hook_capture import HookPoint
from sae.language_model.model import LanguageModel


class _Stop(Exception):
    """Ends a forward pass: what was wanted has been seen."""


class ResumedForward:
    """A pass over `input_ids` int64 [B, L] that stands at `hook`; `document` as in LanguageModel.run_to.

    `activations` is the hook's value [B, L, d], in the model's dtype.
    """

    def __init__(self, lm: LanguageModel, input_ids: Tensor, hook: HookPoint, document: Tensor | None = None) -> None:
        self._lm, self._hook = lm, hook
        self._inputs = lm._inputs(input_ids, document)
        # The first block that has to run again; resid_post is the output of its block, which then need not.
        self._first = 0 if hook.layer is None else hook.layer + (hook.kind == "resid_post")
        self._entry: Tensor | None = None  # what the first block that runs again was given
        self.activations = self._run_to_hook()

    @torch.no_grad()
    def final_states(self, value: Tensor, keep: Tensor) -> Tensor:
        """Input of the unembedding [n, d_model] where `keep` is true, with `value` at the hook instead.

        `value` [b, L, d] and `keep` bool [b, L] are for the first b rows.
        """
        inputs = {k: v[: len(value)] if isinstance(v, Tensor) else v for k, v in self._inputs.items()}
        value = value.to(self.activations.dtype)
        found: list[Tensor] = []

        def take(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            states = hidden_input(args, kwargs)
            assert states is not None
            found.append(states[keep.to(states.device)])
            raise _Stop

        with self._lm._lock, ExitStack() as stack:
            if self._hook.kind == "resid_post":
                stack.enter_context(_skipping(self._lm, self._first, value))
            else:
                entry = None if self._entry is None else self._entry[: len(value)]
                stack.enter_context(_skipping(self._lm, self._first, entry))
                stack.callback(self._lm._tap(self._hook).replace(lambda _: value).remove)
            stack.callback(_unembedding(self._lm).register_forward_pre_hook(take, with_kwargs=True).remove)
            with suppress(_Stop):
                self._lm._model(**inputs)
        return found[0]

    @torch.no_grad()
    def _run_to_hook(self) -> Tensor:
        found: list[Tensor] = []

        def take(value: Tensor) -> None:
            found.append(value)
            raise _Stop

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entry = hidden_input(args, kwargs)
            self._entry = None if entry is None else entry.clone()

        with self._lm._lock, ExitStack() as stack:
            if 0 < self._first < self._lm.n_layers:
                block = self._lm._blocks[self._first]
                stack.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
            stack.callback(self._lm._tap(self._hook).read(take).remove)
            with suppress(_Stop):
                self._lm._base(**self._inputs)
        if not found:
            raise ModelError(f"the model never came past {self._hook.name}")
        return found[0]


@torch.no_grad()
def logits_of(lm: LanguageModel, states: Tensor) -> Tensor:
    """Logits [n, V] of inputs of the unembedding [n, d_model], with all that the model does to logits after it."""

    def put(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return ((states[None], *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states[None]})

    with lm._lock, ExitStack() as stack:
        stack.enter_context(_skipping(lm, lm.n_layers, None))
        stack.callback(_unembedding(lm).register_forward_pre_hook(put, with_kwargs=True).remove)
        logits: Tensor = lm._model(input_ids=lm._probe_ids()[:, :1], use_cache=False).logits
    return logits[0]


@contextmanager
def _skipping(lm: LanguageModel, first: int, value: Tensor | None) -> Iterator[None]:
    """Blocks before `first` pass their input on; the last of them gives `value` if there is one."""
    as_tuple = _gives_tuples(lm)
    with ExitStack() as stack:
        for layer in range(first):
            block = lm._blocks[layer]
            stack.callback(_restore, block, block.__dict__.get("forward"))
            block.forward = _pass(value if layer == first - 1 else None, as_tuple)
        yield


def _pass(value: Tensor | None, as_tuple: bool) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        # A copy, as a block may add to its input in place.
        hidden = hidden_input(args, kwargs) if value is None else value.clone()
        return (hidden,) if as_tuple else hidden

    return forward


_TUPLES: WeakKeyDictionary[LanguageModel, bool] = WeakKeyDictionary()


def _gives_tuples(lm: LanguageModel) -> bool:
    """Whether the blocks return a tuple or the hidden states alone; seen once for each model."""
    if lm not in _TUPLES:

        def after(module: nn.Module, args: object, output: Any) -> None:
            _TUPLES[lm] = not isinstance(output, Tensor)
            raise _Stop

        handle = lm._blocks[0].register_forward_hook(after)
        try:
            lm._base(input_ids=lm._probe_ids(), use_cache=False)
        except _Stop:
            pass
        finally:
            handle.remove()
    return _TUPLES[lm]


def _restore(block: nn.Module, forward: Any) -> None:
    if forward is None:
        del block.__dict__["forward"]
    else:
        block.__dict__["forward"] = forward


def _unembedding(lm: LanguageModel) -> nn.Module:
    head = lm._model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(lm._model).__name__} has no output embeddings, so it predicts no tokens")
    module: nn.Module = head
    return module
