"""Numbers, objects and lists of a chat that remember who said them, as texts do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sae.text.chat_traced_text import TEXT_ROLES, TextRole, TracedText, UntraceableError, of_one_role, refused, roles_of


class TracedInt(int):
    """A whole number inside a message."""

    _role: int

    def __str__(self) -> str:
        return of_one_role(int.__repr__(self), self._role)


class TracedFloat(float):
    """A number inside a message."""

    _role: int

    def __str__(self) -> str:
        return of_one_role(float.__repr__(self), self._role)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    for _number in (TracedInt, TracedFloat):
        setattr(_number, f"__{_name}__", refused(_name))
        setattr(_number, f"__r{_name}__", refused(_name))


class TracedDict(dict[Any, Any]):
    """An object inside a message."""

    _role: int


class TracedList(list[Any]):
    """A list inside a message."""

    _role: int


def trace(value: Any, role: TextRole) -> Any:
    """JSON values as somebody's words: equal to the plain ones, at every depth. true, false and null stay as they are."""
    code = TEXT_ROLES.index(role)
    traced: TracedInt | TracedFloat | TracedDict | TracedList
    match value:
        case str():
            return of_one_role(value, code)
        case bool() | None:
            return value
        case int():
            traced = TracedInt(value)
        case float():
            traced = TracedFloat(value)
        case dict():
            traced = TracedDict({trace(key, role): trace(inner, role) for key, inner in value.items()})
        case list() | tuple():
            traced = TracedList(trace(inner, role) for inner in value)
        case _:
            raise UntraceableError(f"a message holds {type(value).__name__}, which is no JSON")
    traced._role = code
    return traced


def has_bare_values(value: Any) -> bool:
    """Whether true, false or null is among JSON values, but inside somebody's objects and lists.

    Python has one True: nobody can say whose it is once it stands alone.
    """
    match value:
        case TracedDict() | TracedList():
            return False
        case dict():
            return any(has_bare_values(inner) for inner in value.values())
        case list() | tuple():
            return any(has_bare_values(inner) for inner in value)
    return value is None or isinstance(value, bool)


def is_traced(value: Any) -> bool:
    """Whether a value is somebody's words, or may hold some."""
    match value:
        case TracedText() | TracedInt() | TracedFloat() | TracedDict() | TracedList() | Iterator():
            return True
        case dict():
            return any(is_traced(key) or is_traced(inner) for key, inner in value.items())
        case list() | tuple():
            return any(is_traced(inner) for inner in value)
    return False


def as_text(value: Any) -> str:
    """`str` of a value. Raises UntraceableError for an object with the words of several."""
    if not is_traced(value) or isinstance(value, TracedText | TracedInt | TracedFloat):
        return str(value)
    codes = set(_codes(value))
    if len(codes) != 1:
        raise UntraceableError("it writes an object with the words of several speakers")
    return of_one_role(str(value), codes.pop())


def _codes(value: Any) -> Iterator[int]:
    match value:
        case TracedInt() | TracedFloat() | TracedDict() | TracedList():
            yield value._role
        case Mapping():
            yield 0
            for key, inner in value.items():
                yield from (*_codes(key), *_codes(inner))
        case str():
            yield from roles_of(value)
        case list() | tuple():
            yield 0
            for inner in value:
                yield from _codes(inner)
        case _:
            yield 0
