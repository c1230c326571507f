"""Which of a module's arguments and outputs carries the hidden states, and how another value is put there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def first_tensor(value: Any) -> Tensor | None:
    """The tensor that a module returned: itself, or the first of a tuple or list."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)) and value and isinstance(value[0], Tensor):
        return value[0]
    return None


def with_first(output: Any, new: Tensor) -> Any:
    """`output` with its first tensor replaced, in the same structure."""
    return new if isinstance(output, Tensor) else type(output)((new, *output[1:]))


def hidden_slot(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | str | None:
    """Where a module's hidden states are among its arguments: the first positional tensor, `hidden_states`, any other."""
    for index, value in enumerate(args):
        if isinstance(value, Tensor) and value.is_floating_point():
            return index
    named = [name for name, value in kwargs.items() if isinstance(value, Tensor) and value.is_floating_point()]
    return "hidden_states" if "hidden_states" in named else named[0] if named else None


def hidden_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The hidden states that a module was called with."""
    slot = hidden_slot(args, kwargs)
    value = None if slot is None else args[slot] if isinstance(slot, int) else kwargs[slot]
    return value if isinstance(value, Tensor) else None


def with_hidden(args: tuple[Any, ...], kwargs: dict[str, Any], new: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments with other hidden states."""
    slot = hidden_slot(args, kwargs)
    if isinstance(slot, int):
        return (*args[:slot], new, *args[slot + 1 :]), kwargs
    return args, {**kwargs, str(slot): new}


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """`value` with `change(tensor)` for every tensor in its tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (tuple, list):
        return type(value)(map_tensors(item, change) for item in value)
    if type(value) is dict:
        return {key: map_tensors(item, change) for key, item in value.items()}
    return value


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same shape and values, NaN being equal to NaN."""
    return a.shape == b.shape and torch.equal(torch.nan_to_num(a.float()), torch.nan_to_num(b.float()))
