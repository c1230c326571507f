"""The stores that jobs write to: each opened once, and not asked again and again while it does not answer."""

from __future__ import annotations

import time
from contextlib import suppress

from cluster.records import JobRow
from cluster.store import Store, StoreError, StoreUnreachable
from cluster.store.errors import explain

ASK_AGAIN_S = 10.0  # a store that is away lets each question wait for seconds, and a hundred jobs may ask


class Stores:
    """By the URL that whoever asked for a job uses; without one, the dispatcher's own."""

    def __init__(self, own: Store) -> None:
        self._own = own
        self._opened = {own.url: own}
        self._free: dict[str, int | None] = {}
        self._away: dict[str, tuple[StoreUnreachable, float]] = {}

    def look(self) -> None:
        """Begins a new look: what is free is asked once in it, of each store."""
        self._free.clear()

    def url(self, job: JobRow) -> str:
        """Names the store of a job."""
        return (job.environment or {}).get("env_vars", {}).get("RAYLENS_STORE") or self._own.url

    def of(self, job: JobRow) -> Store:
        """The store of a job. Raises StoreError if its URL names none."""
        url = self.url(job)
        if url not in self._opened:
            self._opened[url] = Store.open(url)
        return self._opened[url]

    def answering(self, job: JobRow) -> Store:
        """The store of a job, unless it did not answer a moment ago: then raises StoreUnreachable, without asking."""
        error, at = self._away.get(self.url(job), (None, 0.0))
        if error is not None and time.monotonic() - at < ASK_AGAIN_S:
            raise error
        return self.of(job)

    def missed(self, job: JobRow, error: StoreUnreachable) -> None:
        """The store of a job did not answer."""
        if self._away.get(self.url(job), (None, 0.0))[0] is not error:
            self._away[self.url(job)] = error, time.monotonic()

    def free(self, job: JobRow) -> int | None:
        """Bytes that the store of a job can still take; None where that is unknown. Raises StoreError."""
        return self._free_in(self.of(job))

    def own_free(self) -> int | None:
        """The same of the dispatcher's own store; None if it does not say."""
        with suppress(StoreError):  # a job that needs it says what is wrong with it
            return self._free_in(self._own)
        return None

    def _free_in(self, store: Store) -> int | None:
        if store.url not in self._free:
            try:
                self._free[store.url] = store.free_bytes()
            except OSError as error:
                raise explain("tell what is free in", "", error, store.url) from error
        return self._free[store.url]
