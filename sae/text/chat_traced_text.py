"""A text that remembers who said each character of it: what a chat template is given instead of a plain one.

A template cuts, trims, joins and escapes what it is given. Each operation here gives the same text as that of `str`,
with a role for each character; one that cannot say where its characters come from raises UntraceableError. Nothing is
searched for in the rendered text, so equal texts of two speakers, or of a speaker and the template, are never mixed up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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


def refused(name: str) -> Callable[..., NoReturn]:
    """A method that raises UntraceableError."""

    def method(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise UntraceableError(f"it uses `{name.strip('_')}` on a message")

    return method


for _name in (
    "casefold", "center", "encode", "expandtabs", "format", "format_map", "ljust", "rjust", "swapcase", "title",
    "translate", "zfill",
):  # fmt: skip
    setattr(TracedText, _name, refused(_name))


def joined(texts: Iterable[str]) -> TracedText:
    """Texts one after the other; those without roles are the template's."""
    parts = list(texts)
    return TracedText("".join(parts), b"".join(map(roles_of, parts)))


def plain_copy(text: str) -> str:
    """The text alone."""
    return str.__getitem__(text, slice(None))


def roles_of(text: str) -> bytes:
    """The role of each character of a text."""
    return text._roles if isinstance(text, TracedText) else _TEMPLATE * len(text)


def of_one_role(text: str, code: int) -> TracedText:
    """A text that is all of the role TEXT_ROLES[code]."""
    return TracedText(text, bytes([code]) * len(text))
