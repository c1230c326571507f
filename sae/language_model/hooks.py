"""Hook points: names, and how a value is read from or put into a running model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from sae.language_model.errors import ModelError
from sae.language_model.module_io import first_tensor, hidden_input, with_first, with_hidden
from sae.language_model.norms import Norm

Kind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "ln2_normalized", "module"]

# What follows `blocks.L.` in TransformerLens' names.
SUFFIXES: dict[str, Kind] = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "ln2.hook_normalized": "ln2_normalized",
}
_NAME = re.compile(r"^blocks\.(\d+)\.(.+)$")


class HookPoint(NamedTuple):
    """A place in a model whose value is a vector of `d` numbers for every token.

    `name` is the stored name: TransformerLens' where it has one (on unprocessed weights), else the Hugging Face path.
    `module_path` is the Hugging Face module that it is read at: its output, but for `resid_pre` and `resid_mid` its
    input, and for `ln2_normalized` its value before weight and bias. `layer` is None outside the blocks.
    """

    name: str
    module_path: str
    kind: Kind
    layer: int | None
    d: int


def parse(name: str) -> tuple[int, Kind] | None:
    """(layer, kind) of a TransformerLens name, None if it is not one of those that RayLens knows."""
    match = _NAME.match(name)
    if match is None or match[2] not in SUFFIXES:
        return None
    return int(match[1]), SUFFIXES[match[2]]


def tl_name(layer: int, kind: Kind) -> str:
    """TransformerLens' name of a kind of hook point in a block."""
    return f"blocks.{layer}." + next(suffix for suffix, k in SUFFIXES.items() if k == kind)


class Tap(NamedTuple):
    """Where a hook point is read in a loaded model.

    `module` is the one to watch, `norm` the norm for `ln2_normalized`, and `batch` (rows, tokens) is given where the
    module's value is [rows * tokens, d], which is read and replaced as [rows, tokens, d].
    """

    module: nn.Module
    kind: Kind
    norm: Norm | None = None
    batch: tuple[int, int] | None = None

    def read(self, take: Callable[[Tensor], None]) -> Any:
        """Calls `take` with the value each time the model passes here. Returns a handle with `.remove()`.

        The value is the model's own tensor, which later modules may change in place.
        """
        if self.kind in ("resid_pre", "resid_mid"):

            def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                take(self._rows(_tensor(hidden_input(args, kwargs), module)))

            return self.module.register_forward_pre_hook(before, with_kwargs=True)

        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            take(self._value(module, args, kwargs, output))

        return self.module.register_forward_hook(after, with_kwargs=True)

    def replace(self, change: Callable[[Tensor], Tensor]) -> Any:
        """Puts `change(value)` in the value's place for all that follows. Returns a handle with `.remove()`."""
        if self.kind == "resid_pre":

            def first(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                value = _tensor(hidden_input(args, kwargs), module)
                return with_hidden(args, kwargs, _fitting(change(value), value))

            return self.module.register_forward_pre_hook(first, with_kwargs=True)
        if self.kind == "resid_mid":

            def middle(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                value = _tensor(hidden_input(args, kwargs), module)
                # In place: the same tensor is the MLP branch's input and the residual stream that the MLP adds to.
                rows = self._rows(value)
                value.copy_(_fitting(change(rows.clone()), rows).reshape(value.shape))

            return self.module.register_forward_pre_hook(middle, with_kwargs=True)

        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            made = _tensor(first_tensor(output), module)
            value = self._value(module, args, kwargs, output)
            new = _fitting(change(value), value)
            if self.norm is not None:
                new = self.norm.shift(made, (new.float() - value.float()).reshape(made.shape))
            return with_first(output, new.reshape(made.shape))

        return self.module.register_forward_hook(after, with_kwargs=True)

    def _value(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Tensor:
        made = _tensor(first_tensor(output), module)
        if self.norm is not None:
            given = _tensor(hidden_input(args, kwargs), module)
            return self._rows(self.norm.standardise(given).to(given.dtype))
        return self._rows(made)

    def _rows(self, value: Tensor) -> Tensor:
        return value if self.batch is None else value.reshape(*self.batch, -1)


def _tensor(value: Tensor | None, module: nn.Module) -> Tensor:
    if value is None:
        raise ModelError(f"{type(module).__name__} passes no tensor here, so it cannot be hooked")
    return value


def _fitting(new: Tensor, old: Tensor) -> Tensor:
    if new.shape != old.shape:
        raise ValueError(f"the replacement has shape {tuple(new.shape)} where the model has {tuple(old.shape)}")
    return new.to(dtype=old.dtype, device=old.device, copy=True)  # the model may change it in place
