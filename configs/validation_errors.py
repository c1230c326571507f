"""What is wrong with a config, in one line a fault: the file, the key, what was found and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from configs.base import Config

MAX_MESSAGE = 480
_MAX_VALUE = 80


def fault_lines(error: ValidationError, model: type[Config], source: str) -> str:
    """The faults of a config of class `model` that was read from `source`; no longer than MAX_MESSAGE characters."""
    return bounded([_line(fault, model, source) for fault in _own_faults(error.errors())])


def bounded(lines: list[str]) -> str:
    """As many of the lines as MAX_MESSAGE characters hold, and how many more there are."""
    kept: list[str] = []
    room = MAX_MESSAGE - len("... and 999 more")
    for line in lines:
        if kept and sum(len(one) + 1 for one in (*kept, line)) > room:
            return "\n".join([*kept, f"... and {len(lines) - len(kept)} more"])
        kept.append(shortened(line, room))
    return "\n".join(kept)


def shortened(text: str, length: int = _MAX_VALUE) -> str:
    """The text, with its middle left out where it is longer."""
    return text if len(text) <= length else f"{text[: length - length // 3 - 5]} ... {text[-length // 3 :]}"


def nested_models(annotation: Any) -> Iterator[type[Config]]:
    """The config classes that a field's type names, at any depth of unions and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for inner in get_args(annotation):
        yield from nested_models(inner)


def _own_faults(faults: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without the one of a list that is called too short only because an item of it has a fault of its own."""
    locations = [fault["loc"] for fault in faults]
    return [
        fault
        for fault in faults
        if fault["type"] != "too_short"
        or not any(len(loc) > len(fault["loc"]) and loc[: len(fault["loc"])] == fault["loc"] for loc in locations)
    ]


_CREDENTIALS = re.compile(r"://[^/@\s]*@")  # in a URL; a message can be kept in a log


def _line(fault: ErrorDetails, model: type[Config], source: str) -> str:
    keys, models = _walk(model, fault["loc"])
    key = ".".join(keys) or "(whole config)"
    if fault["type"] == "extra_forbidden":
        known = sorted({name for one in models for name in one.model_fields})
        return f"{source}: unknown key {shortened(key)}: the keys there are {', '.join(known)}"
    found = shortened(_CREDENTIALS.sub("://…@", repr(fault["input"])))
    return f"{source}: {key}: {fault['msg'].removeprefix('Value error, ')} (got {found})"


def _walk(model: type[Config], location: tuple[int | str, ...]) -> tuple[list[str], list[type[Config]]]:
    """The keys of a location, and the classes whose fields stand there.

    A location also names the branches of unions (`id`, `config`, a `type`, a `stage` or an `architecture`): these are no keys.
    """
    keys: list[str] = []
    models = [model]
    for part in location[:-1]:
        fields = [one.model_fields[part] for one in models if part in one.model_fields] if isinstance(part, str) else []
        if fields:
            models = [found for field in fields for found in nested_models(field.annotation)]
        elif isinstance(part, str) and models:  # a branch
            models = [one for one in models if part in _tags(one)] or models
            continue
        keys.append(str(part))
    last = location[-1] if location else None
    if last is not None and not (isinstance(last, str) and _is_branch(last, models)):
        keys.append(str(last))
    return keys, models


def _is_branch(part: str, models: list[type[Config]]) -> bool:
    return part in ("id", "config") or (
        any(part in _tags(one) for one in models) and not any(part in one.model_fields for one in models)
    )


def _tags(model: type[Config]) -> set[Any]:
    names = {"type", "stage", "architecture"} & model.model_fields.keys()
    return {value for name in names for value in get_args(model.model_fields[name].annotation)}
