"""Follows the events of one job or of all jobs. They come from the catalog, so that any replica serves any stream.

One task of a replica polls the catalog for all of its streams; a stream that it wakes reads on from its own position.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from cluster.catalog import ENDED, Catalog, EventRow, JobRow
from serve_app.errors import ApiError

log = logging.getLogger(__name__)
POLL_S = 0.25  # between polls for events
PROGRESS_EVERY = 4  # polls for events to one for progress: once a second
KEEPALIVE_S = 15.0  # a stream without events sends a sign of life after this time
_PAGE = 500


class Item(NamedTuple):
    """An event, or the progress of a job, which has no number and is not sent again."""

    event: EventRow | None = None
    progress: JobRow | None = None


class EventPoller:
    """Polls the catalog while any stream is open."""

    def __init__(self, catalog: Catalog, streams: int) -> None:
        self._catalog, self._limit = catalog, streams
        self._open = self._listeners = 0  # streams, and those of them that wait for events
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._cursor = 0
        self.version = 0
        self.jobs: dict[str, int] = {}  # by job: the version of its last event
        self.progress: dict[str, JobRow] = {}

    @property
    def open(self) -> int:
        """Number of open streams."""
        return self._open

    async def head(self) -> int:
        """Number of the last event of all."""
        return await asyncio.to_thread(self._catalog.last_change)

    def check_stream_limit(self) -> None:
        """Raises ApiError (503) if the limit of open streams is reached."""
        if self._open >= self._limit:
            raise ApiError(
                503, "too_many_streams", f"{self._limit} streams are open here: try again later", {"Retry-After": "10"}
            )

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts a stream while the block runs. Raises ApiError (503) if the limit is reached."""
        self.check_stream_limit()
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Polls the catalog while the block runs, which counts as a stream."""
        with self.counted():
            self._listeners += 1
            try:
                if self._task is None:
                    head = await self.head()
                    if self._task is None:  # else another stream has started it meanwhile
                        self._cursor, self._task = head, asyncio.create_task(self._poll())
                yield
            finally:
                self._listeners -= 1
                self._stop_if_unused()

    def _stop_if_unused(self) -> None:
        """Stops the poll after the last stream."""
        if not self._listeners:
            if self._task is not None:
                self._task.cancel()
                self._task = None
            self.jobs.clear()
            self.progress.clear()

    async def wait(self, version: int, seconds: float) -> bool:
        """Waits until something is newer than `version`. False if nothing is after `seconds`."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.version > version)
            return True
        except TimeoutError:
            return False

    async def _poll(self) -> None:
        polls = 0
        while True:
            try:
                changed = await self._events()
                if polls % PROGRESS_EVERY == 0:
                    changed = await self._live() or changed
            except Exception:
                log.warning("cannot poll the catalog for events", exc_info=True)
                await asyncio.sleep(KEEPALIVE_S / 3)
                continue
            polls += 1
            if changed:
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(POLL_S)

    async def _events(self) -> bool:
        rows = await asyncio.to_thread(self._catalog.changes, self._cursor)
        if rows:
            self._cursor = rows[-1].seq
            self.version += 1
            self.jobs.update(dict.fromkeys((row.job_id for row in rows), self.version))
        return bool(rows)

    async def _live(self) -> bool:
        found = {row.id: row for row, _ in await asyncio.to_thread(self._catalog.live)}
        gone = self.progress.keys() - found.keys()  # their streams end
        changed = bool(gone) or any(_figures(row) != _figures(self.progress.get(row.id)) for row in found.values())
        self.progress = found
        self.version += changed
        return changed


async def follow(
    event_poller: EventPoller, catalog: Catalog, job: str | None, after: int
) -> AsyncGenerator[Item | None, None]:
    """Events above `after`, then new ones, with progress in between; None as a sign of life after KEEPALIVE_S.

    `after` is a number of the job's own events, or of those of all jobs. The stream of a job ends once the job has.
    """
    sent: dict[str, tuple[object, ...] | None] = {}
    read_version = -1
    async with event_poller.listening():
        while True:
            version = event_poller.version
            if read_version < 0 or job is None or event_poller.jobs.get(job, 0) > read_version:
                while rows := await asyncio.to_thread(_read, catalog, job, after):
                    for row in rows:
                        after = row.number if job else row.seq
                        yield Item(event=row)
            read_version = version
            for progress in _new_progress(event_poller, job, sent):
                yield Item(progress=progress)
            if (
                job is not None
                and job not in event_poller.progress
                and await asyncio.to_thread(is_over, catalog, job, after)
            ):
                return
            if not await event_poller.wait(version, KEEPALIVE_S):
                yield None


def is_over(catalog: Catalog, job: str, after: int) -> bool:
    """True if a job has ended and has no event above `after`. Raises CatalogError if there is no such job."""
    row = catalog.job(job)
    return row.state in ENDED and after >= row.last_event


def _read(catalog: Catalog, job: str | None, after: int) -> list[EventRow]:
    return catalog.changes(after, _PAGE) if job is None else catalog.events(job, after, _PAGE)


def _new_progress(
    event_poller: EventPoller, job: str | None, sent: dict[str, tuple[object, ...] | None]
) -> list[JobRow]:
    rows = [row for row in event_poller.progress.values() if job in (None, row.id) and row.total is not None]
    changed = [row for row in rows if _figures(row) != sent.get(row.id)]
    for row in changed:
        sent[row.id] = _figures(row)
    return changed


def _figures(row: JobRow | None) -> tuple[object, ...] | None:
    return None if row is None else (row.attempt, row.phase, row.done, row.total, row.durable)
