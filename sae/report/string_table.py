"""The page's table of strings: each is stored once and named by a number, the commonest by the shortest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any


class Reference(int):
    """The number that a string was given when it was first seen; `Strings.renumber` turns it into the final one."""


class Strings:
    """Collects strings while the page is built."""

    def __init__(self) -> None:
        self._number: dict[str, Reference] = {}
        self._uses: Counter[int] = Counter()

    def add(self, text: str) -> Reference:
        """A reference to a string."""
        number = self._number.setdefault(text, Reference(len(self._number)))
        self._uses[number] += 1
        return number

    def add_all(self, texts: Iterable[str]) -> list[Reference]:
        """References to several."""
        return [self.add(text) for text in texts]

    def finish(self) -> tuple[list[str], dict[int, int]]:
        """The table, most used first, and the final number of each reference."""
        texts = list(self._number)
        order = sorted(range(len(texts)), key=lambda i: (-self._uses[i], texts[i]))
        return [texts[i] for i in order], {old: new for new, old in enumerate(order)}


def renumber(value: Any, final: dict[int, int]) -> Any:
    """The same JSON value with every Reference replaced by its final number."""
    if isinstance(value, Reference):
        return final[value]
    if isinstance(value, list):
        return [renumber(item, final) for item in value]
    if isinstance(value, dict):
        return {key: renumber(item, final) for key, item in value.items()}
    return value
