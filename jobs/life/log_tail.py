"""New lines of a log, as they are written."""

from __future__ import annotations

from pathlib import Path


class Tail:
    """Whole lines of a file that may not be there yet, each once."""

    def __init__(self, path: Path, from_start: bool = False) -> None:
        self._path = path
        self._at = 0 if from_start or not path.exists() else path.stat().st_size

    def lines(self) -> list[bytes]:
        """What came since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._at += len(whole)
        return whole.splitlines()
