"""Values that remember who said them: what a chat template is given instead of plain strings, numbers and lists.

A template cuts, trims, joins and escapes what it is given. Each operation here gives the same text as that of `str`,
with a role for each character; one that cannot say where its characters come from raises UntraceableError. Nothing is
searched for in the rendered text, so equal texts of two speakers, or of a speaker and the template, are never mixed up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NoReturn, SupportsIndex

from sae.text.chat_messages import ChatError

TextRole = Literal["template", "system", "user", "assistant", "tool", "thinking"]
TEXT_ROLES: tuple[TextRole, ...] = ("template", "system", "user", "assistant", "tool", "thinking")  # by code
_TEMPLATE = b"\0"


class UntraceableError(ChatError):
    """A chat template does something to a text after which nobody can say where its characters come from."""


class TracedText(str):
    """A text with the role of each of its characters, `roles`: a byte each, an index into TEXT_ROLES."""

    _roles: bytes  # not public: a sandboxed template sees no attribute that begins with an underscore

    def __new__(cls, text: str, roles: bytes) -> TracedText:
        self = super().__new__(cls, text)
        self._roles = roles
        return self

    def __str__(self) -> str:
        return self

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: SupportsIndex | slice) -> TracedText:
        roles = self._roles[key] if isinstance(key, slice) else bytes([self._roles[key]])
        return TracedText(super().__getitem__(key), roles)

    def __add__(self, other: str) -> TracedText:
        return joined((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> TracedText:
        return joined((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> TracedText:
        return TracedText(super().__mul__(times), self._roles * times)

    __rmul__ = __mul__

    def __format__(self, specification: str) -> NoReturn:
        raise UntraceableError("it puts a message into a text by `format`")

    def __mod__(self, values: Any) -> NoReturn:
        raise UntraceableError("it puts values into a message by `%`")

    def __rmod__(self, text: Any) -> NoReturn:
        raise UntraceableError("it puts a message into a text by `%`")

    def lstrip(self, chars: str | None = None, /) -> TracedText:
        return self[len(self) - len(super().lstrip(chars)) :]

    def rstrip(self, chars: str | None = None, /) -> TracedText:
        return self[: len(super().rstrip(chars))]

    def strip(self, chars: str | None = None, /) -> TracedText:
        return self.lstrip(chars).rstrip(chars)

    def removeprefix(self, prefix: str, /) -> TracedText:
        return self[len(self) - len(super().removeprefix(prefix)) :]

    def removesuffix(self, suffix: str, /) -> TracedText:
        return self[: len(super().removesuffix(suffix))]

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._pieces(super().split(sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._pieces(super().rsplit(sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[str]:
        ends = [0]
        for line in super().splitlines(True):
            ends.append(ends[-1] + len(line))
        lines = super().splitlines(keepends)
        return [self[start : start + len(line)] for start, line in zip(ends, lines)]

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        at = self.find(sep)
        return (self, "", "") if at < 0 else (self[:at], self[at : at + len(sep)], self[at + len(sep) :])

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        at = self.rfind(sep)
        return ("", "", self) if at < 0 else (self[:at], self[at : at + len(sep)], self[at + len(sep) :])

    def join(self, texts: Iterable[str], /) -> TracedText:
        parts: list[str] = []
        for text in texts:
            parts += [self, text] if parts else [text]
        return joined(parts)

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> TracedText:
        """What is put in place of a piece counts as that piece, unless it is somebody's text itself."""
        if not old:
            raise UntraceableError("it replaces the empty text")
        parts: list[str] = []
        start, left = 0, int(count)
        while left and (at := self.find(old, start)) >= 0:
            role = self._roles[at : at + 1]
            parts += [self[start:at], new if isinstance(new, TracedText) else TracedText(new, role * len(new))]
            start, left = at + len(old), left - 1
        return joined([*parts, self[start:]])

    def upper(self) -> TracedText:
        return self._by_character(super().upper(), str.upper)

    def lower(self) -> TracedText:
        return self._by_character(super().lower(), str.lower)

    def capitalize(self) -> TracedText:
        return joined((self[:1]._by_character(super().capitalize()[:1], str.capitalize), self[1:].lower()))

    def _by_character(self, changed: str, change: Callable[[str], str]) -> TracedText:
        pieces = [change(character) for character in str.__iter__(self)]
        if "".join(pieces) != changed:
            raise UntraceableError("it changes letters in a way that depends on their neighbours")
        return TracedText(changed, b"".join(self._roles[i : i + 1] * len(piece) for i, piece in enumerate(pieces)))

    def _pieces(self, pieces: Sequence[str], sep: str | None) -> list[str]:
        """Pieces of this text, in its order, with their roles. Between them is `sep`, or white space."""
        found: list[str] = []
        position = 0
        for piece in pieces:
            start = self.find(piece, position) if sep is None else position
            found.append(self[start : start + len(piece)])
            position = start + len(piece) + len(sep or "")
        return found


def _refused(name: str) -> Callable[..., NoReturn]:
    def method(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise UntraceableError(f"it uses `{name.strip('_')}` on a message")

    return method


for _name in (
    "casefold", "center", "encode", "expandtabs", "format", "format_map", "ljust", "rjust", "swapcase", "title",
    "translate", "zfill",
):  # fmt: skip
    setattr(TracedText, _name, _refused(_name))


class TracedInt(int):
    """A whole number inside a message."""

    _role: int

    def __str__(self) -> str:
        return _whole(int.__repr__(self), self._role)


class TracedFloat(float):
    """A number inside a message."""

    _role: int

    def __str__(self) -> str:
        return _whole(float.__repr__(self), self._role)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    for _number in (TracedInt, TracedFloat):
        setattr(_number, f"__{_name}__", _refused(_name))
        setattr(_number, f"__r{_name}__", _refused(_name))


class TracedDict(dict[Any, Any]):
    """An object inside a message."""

    _role: int


class TracedList(list[Any]):
    """A list inside a message."""

    _role: int


Traced = TracedText | TracedInt | TracedFloat | TracedDict | TracedList


def trace(value: Any, role: TextRole) -> Any:
    """JSON values as somebody's words: equal to the plain ones, at every depth. true, false and null stay as they are."""
    code = TEXT_ROLES.index(role)
    traced: TracedInt | TracedFloat | TracedDict | TracedList
    match value:
        case str():
            return _whole(value, code)
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


def joined(texts: Iterable[str]) -> TracedText:
    """Texts one after the other; those without roles are the template's."""
    parts = list(texts)
    return TracedText("".join(parts), b"".join(map(roles_of, parts)))


def roles_of(text: str) -> bytes:
    """The role of each character of a text."""
    return text._roles if isinstance(text, TracedText) else _TEMPLATE * len(text)


def as_text(value: Any) -> str:
    """`str` of a value. Raises UntraceableError for an object with the words of several."""
    if not is_traced(value) or isinstance(value, TracedText | TracedInt | TracedFloat):
        return str(value)
    codes = set(_codes(value))
    if len(codes) != 1:
        raise UntraceableError("it writes an object with the words of several speakers")
    return _whole(str(value), codes.pop())


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


def _whole(text: str, code: int) -> TracedText:
    return TracedText(text, bytes([code]) * len(text))


class TracedJson:
    """Writes values as `json.dumps` does, with roles. Brackets and quotes belong to whom the object belongs."""

    def __init__(self, ensure_ascii: bool, indent: int | str | None, separators: Any, sort_keys: bool) -> None:
        self._options: dict[str, Any] = {
            "ensure_ascii": ensure_ascii, "indent": indent, "separators": separators, "sort_keys": sort_keys,
        }  # fmt: skip
        between: tuple[str, str] = separators or ((",", ": ") if indent is not None else (", ", ": "))
        self._item, self._key = between
        self._indent = " " * indent if isinstance(indent, int) else indent

    def write(self, value: Any) -> TracedText:
        """Raises UntraceableError for what is not JSON."""
        text = joined(self._value(value, 0, 0))
        if text != json.dumps(value, **self._options):
            raise UntraceableError("it writes JSON in a way that cannot be followed")
        return text

    def _value(self, value: Any, code: int, depth: int) -> Iterator[str]:
        match value:
            case str():
                yield from self._string(value, code)
            case dict():
                code = value._role if isinstance(value, TracedDict) else code
                items = sorted(value.items()) if self._options["sort_keys"] else value.items()
                entries = [[*self._string(key, code), _whole(self._key, code)] for key, _ in items]
                for entry, (_, inner) in zip(entries, items, strict=True):
                    entry += self._value(inner, code, depth + 1)
                yield from self._bracketed("{}", entries, code, depth)
            case list() | tuple():
                code = value._role if isinstance(value, TracedList) else code
                yield from self._bracketed(
                    "[]", [[*self._value(inner, code, depth + 1)] for inner in value], code, depth
                )
            case _:
                code = value._role if isinstance(value, TracedInt | TracedFloat) else code
                yield _whole(json.dumps(value), code)

    def _bracketed(self, brackets: str, entries: list[list[str]], code: int, depth: int) -> Iterator[str]:
        inside = outside = ""
        if self._indent is not None and entries:
            inside, outside = "\n" + self._indent * (depth + 1), "\n" + self._indent * depth
        yield _whole(brackets[0] + inside, code)
        for i, entry in enumerate(entries):
            yield _whole(self._item + inside if i else "", code)
            yield from entry
        yield _whole(outside + brackets[1], code)

    def _string(self, text: Any, code: int) -> Iterator[str]:
        if not isinstance(text, str):
            raise UntraceableError(f"it writes JSON with a key that is {type(text).__name__}")
        yield _whole('"', code)
        if not isinstance(text, TracedText):
            yield _whole(self._escaped(text), code)
        elif len(set(text._roles)) == 1:
            yield _whole(self._escaped(text), text._roles[0])
        else:
            for character in text:
                yield _whole(self._escaped(character), roles_of(character)[0])
        yield _whole('"', code)

    def _escaped(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=self._options["ensure_ascii"])[1:-1]
