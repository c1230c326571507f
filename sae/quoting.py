"""Values and lists of names in messages: bounded, on one line, with blanks and odd characters visible."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 80


def quoted(value: object, most: int = LONGEST) -> str:
    """`repr` of a value, cut to `most` characters."""
    text = repr(value[: most + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= most else text[: most - 2] + "…" + text[-1]


def shortened(text: str, most: int = LONGEST) -> str:
    """A text on one line, cut to `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def shortened_path(path: object, most: int = 160) -> str:
    """A path that can be printed; of a long one the end."""
    text = printable(str(path))
    return text if len(text) <= most else "…" + text[1 - most :]


def listed(names: Iterable[str], most: int = 8, longest: int = 40) -> str:
    """The first names with how many more there are; `no files` if there are none."""
    every = list(names)
    shown = ", ".join(shortened(printable(name), longest) for name in every[:most])
    return (shown + (f" and {len(every) - most} more" if len(every) > most else "")) or "no files"


def printable(name: str) -> str:
    """A file name that need not be UTF-8, with its odd bytes as `\\xNN`, so that it can be printed and stored."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
