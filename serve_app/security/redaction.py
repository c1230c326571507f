"""Takes out of texts what a client should not see: paths of the server's machine, tracebacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# What is kept as it is, or an absolute path: in quotes whatever it holds, else from slashes that follow no word or dot (so
# `tokens/1a2b` is none) to the first character that paths seldom have.
_PATH = re.compile(
    r"(?P<kept>\b(?:https?|s3|wss?)://\S*)"
    r"|(?P<database>\bpostgresql\S*?://\S*)"
    r"|(?P<quote>['\"])(?P<quoted>(?:file:)?(?:~|/)[^'\"\n]*)(?P=quote)"
    r"|(?<![\w/.])(?P<path>(?:~[\w.-]*|/+(?=[\w.~+-]))[\w.@+=~%-]*(?:/[\w.@+=~%-]*)+)"
)
_TRACE = "Traceback (most recent call last):"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)


def redact(text: str) -> str:
    """The text with the last part only of each absolute path: `/home/ada/data/a.csv` becomes `…/a.csv`."""
    return _PATH.sub(_shortened, text)


def _shortened(match: re.Match[str]) -> str:
    if match["kept"]:
        return match[0]
    if match["database"]:
        return "postgresql://…"
    if match["quote"]:
        return f"{match['quote']}…/{match['quoted'].rstrip('/').rpartition('/')[2]}{match['quote']}"
    path = match["path"]
    trailing = path[len(path.rstrip("./")) :] if path.endswith(".") else ""
    name = path.rstrip("./").rpartition("/")[2]
    return f"…/{name}{trailing}"


class LogRedactor:
    """Takes a log line by line: gives it with its paths shortened, or None for a frame of a traceback.

    The line that names the error stays.
    """

    def __init__(self) -> None:
        self._inside = self._told = False

    def __call__(self, line: str) -> str | None:
        plain = line.strip()
        if plain.endswith(_TRACE):
            self._inside = True
            return None
        if (self._inside or self._told) and (not plain or plain in _CHAINED):
            return None
        if self._inside and line[:1] in (" ", "\t", "|", "+"):
            return None
        self._told, self._inside = self._inside, False
        return redact(line)


def redact_log(lines: Iterable[str], before: Iterable[str] = ()) -> Iterator[str]:
    """Lines of a log as clients may see them; `before`: some that stand in front of them, for what they belong to."""
    clean = LogRedactor()
    for line in before:
        clean(line)
    for line in lines:
        if (shown := clean(line)) is not None:
            yield shown
