"""JSON of a chat's values, with the role of each character."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sae.text.chat_traced_text import TracedText, UntraceableError, joined, of_one_role, roles_of
from sae.text.chat_traced_values import TracedDict, TracedFloat, TracedInt, TracedList


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
                entries = [[*self._string(key, code), of_one_role(self._key, code)] for key, _ in items]
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
                yield of_one_role(json.dumps(value), code)

    def _bracketed(self, brackets: str, entries: list[list[str]], code: int, depth: int) -> Iterator[str]:
        inside = outside = ""
        if self._indent is not None and entries:
            inside, outside = "\n" + self._indent * (depth + 1), "\n" + self._indent * depth
        yield of_one_role(brackets[0] + inside, code)
        for i, entry in enumerate(entries):
            yield of_one_role(self._item + inside if i else "", code)
            yield from entry
        yield of_one_role(outside + brackets[1], code)

    def _string(self, text: Any, code: int) -> Iterator[str]:
        if not isinstance(text, str):
            raise UntraceableError(f"it writes JSON with a key that is {type(text).__name__}")
        yield of_one_role('"', code)
        if not isinstance(text, TracedText):
            yield of_one_role(self._escaped(text), code)
        elif len(set(text._roles)) == 1:
            yield of_one_role(self._escaped(text), text._roles[0])
        else:
            for character in text:
                yield of_one_role(self._escaped(character), roles_of(character)[0])
        yield of_one_role('"', code)

    def _escaped(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=self._options["ensure_ascii"])[1:-1]
