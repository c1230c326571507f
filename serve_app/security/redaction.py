"""Removes from texts what a client must not see: paths of the server's machine, tracebacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# URLs are kept. An absolute path is all that quotes enclose, or else begins with slashes that follow no word or dot (so
# `tokens/1a2b` is none) and ends before the first character that is rare in paths.
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
    """The text with each absolute path shortened to its last part: `/home/ada/data/a.csv` becomes `…/a.csv`."""
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
    """Takes a log line by line. Returns it with shortened paths, or None for a frame of a traceback.

    The line that names the error is kept.
    """

    def __init__(self) -> None:
        self._in_traceback = self._after_error = False

    def __call__(self, line: str) -> str | None:
        plain = line.strip()
        if plain.endswith(_TRACE):
            self._in_traceback = True
            return None
        if (self._in_traceback or self._after_error) and (not plain or plain in _CHAINED):
            return None
        if self._in_traceback and line[:1] in (" ", "\t", "|", "+"):
            return None
        self._after_error, self._in_traceback = self._in_traceback, False
        return redact(line)


def redact_log(lines: Iterable[str], before: Iterable[str] = ()) -> Iterator[str]:
    """Lines of a log for clients. `before`: the lines in front of them, which can be the start of a traceback."""
    redact_line = LogRedactor()
    for line in before:
        redact_line(line)
    for line in lines:
        if (shown := redact_line(line)) is not None:
            yield shown
