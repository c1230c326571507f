"""Paths into the nested values of a row: `meta.pages[0].text`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

_STEP = re.compile(r"[^.\[\]]+|\[-?\d{1,9}\]")
_PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[-?\d{1,9}\])*")


class Missing:
    """What is at a path that a row does not have."""


MISSING = Missing()


def root_of(path: str, names: Collection[str]) -> str:
    """The column that a path begins in. A column whose whole name is the path goes before the path."""
    return path if path in names else str(_steps(path)[0])


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """The value at a path; MISSING if a key or place of it is not there."""
    if path in row:
        return row[path]
    value: Any = row
    for step in _steps(path):
        value = _below(value, step)
    return value


def _below(value: Any, step: str | int) -> Any:
    match value, step:
        case Mapping(), str():
            return value.get(step, MISSING)
        case list(), int() if -len(value) <= step < len(value):
            return value[step]
    return MISSING


@lru_cache(maxsize=1000)
def _steps(path: str) -> tuple[str | int, ...]:
    """Keys and places of a path; a name that is no path is one key."""
    if not _PATH.fullmatch(path):
        return (path,)
    return tuple(int(step[1:-1]) if step.startswith("[") else step for step in _STEP.findall(path))
