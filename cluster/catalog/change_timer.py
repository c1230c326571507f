"""How long things that other machines renew have not changed, by this process' own clock: clocks cannot be compared."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from time import monotonic

from cachetools import LRUCache

_MOST = 10_000


class ChangeTimer:
    """How long each thing has looked the same to this process, from its first look on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: LRUCache[Hashable, tuple[object, float]] = LRUCache(_MOST)

    def unchanged_s(self, key: Hashable, value: object) -> float:
        """Seconds since `value` was first seen under `key`."""
        now = monotonic()
        with self._lock:
            known = self._seen.get(key)
            since = known[1] if known is not None and known[0] == value else now
            self._seen[key] = (value, since)
            return now - since
