"""Watches things that are renewed, by this process' own clock: those of other machines cannot be compared."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from time import monotonic

_MOST = 10_000


class ChangeTimer:
    """How long each thing has looked the same to this process. It starts with the first look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Hashable, tuple[object, float]] = {}

    def unchanged_s(self, key: Hashable, value: object) -> float:
        """Seconds since `value` was first seen under `key`."""
        now = monotonic()
        with self._lock:
            known = self._seen.pop(key, None)
            since = known[1] if known is not None and known[0] == value else now
            self._seen[key] = (value, since)  # at the end: what nobody asks for any more comes to the front, and goes
            while len(self._seen) > _MOST:
                del self._seen[next(iter(self._seen))]
            return now - since
