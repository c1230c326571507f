"""Event streams as Server-Sent Events and as WebSocket messages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, Any

from fastapi import Header, WebSocket, WebSocketDisconnect
from fastapi.sse import format_sse_event
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from cluster.catalog import CatalogError
from serve_app.dependencies import Api, TokenCheck
from serve_app.errors import ApiError, to_api_error
from serve_app.paging import INT64, StrictQuery
from serve_app.schemas.jobs import Event, JobSummary
from serve_app.security.guard import refuse
from serve_app.streaming.events import KEEPALIVE_S, Item, follow, is_over

log = logging.getLogger(__name__)
RETRY_MS = 1000
SSE_DOCS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of events: `data` has the fields of `Event` as JSON, `id` its number, `event` is `state` or "
        "`log`. At most once a second, an event `progress` has the fields of a job; it has no `id` and is not sent again.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "examples": {
            "job": {"value": 'event: state\ndata: {"seq":17,"number":3,"job":"train-0f3c9a7b21","state":"RUNNING"}\n'
                             "id: 3\n\n"}}}},
    },
    204: {"description": "The job has ended and the client has all its events: a browser's EventSource stops."},
}  # fmt: skip
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[0-9]{1,18}$",
        description="Number of the last event that the client has: the stream continues after it. Overrides `after`.",
    ),
]


class After(StrictQuery):
    """Where a stream of one job begins."""

    after: int = Field(0, ge=0, le=INT64, description="Only events with a higher number.")


class AfterSeq(StrictQuery):
    """Where a stream of all jobs begins."""

    after: int | None = Field(
        None, ge=0, le=INT64, description="Only events with a higher number; if not given, only what comes from now on."
    )


async def sse_response(
    api: Api, check_token: TokenCheck, job: str | None, after: int | None, last: str | None
) -> Response:
    """The answer to a request for a stream. Raises NotFound if there is no such job, ApiError if too many are open."""
    begin = int(last) if last is not None else after
    if job is not None and await asyncio.to_thread(is_over, api.catalog, job, begin or 0) and last is not None:
        return Response(status_code=204)
    if begin is None:
        begin = await api.event_poller.head()
    api.event_poller.check_stream_limit()
    return StreamingResponse(
        _frames(api, check_token, job, begin), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _frames(api: Api, check_token: TokenCheck, job: str | None, after: int) -> AsyncIterator[bytes]:
    yield format_sse_event(comment="RayLens events", retry=RETRY_MS)
    try:
        async with aclosing(_with_token_checks(api, check_token, job, after)) as items:
            async for item in items:
                yield format_sse_event(comment="alive") if item is None else _frame(item, job)
    except (ApiError, CatalogError) as error:  # too late for a status: the next request of the client gets it
        known = to_api_error(error)
        assert known is not None
        yield format_sse_event(comment=known.code)


async def _with_token_checks(
    api: Api, check_token: TokenCheck, job: str | None, after: int
) -> AsyncGenerator[Item | None, None]:
    """The items of `follow` while the token is valid. Raises ApiError when it is not."""
    checked = time.monotonic()
    async with aclosing(follow(api.event_poller, api.catalog, job, after)) as items:
        async for item in items:
            if time.monotonic() - checked >= KEEPALIVE_S:
                await check_token()
                checked = time.monotonic()
            yield item


def _frame(item: Item, job: str | None) -> bytes:
    if item.event is not None:
        event = Event.model_validate(item.event)
        number = event.seq if job is None else event.number
        return format_sse_event(event=event.kind, data_str=event.model_dump_json(), id=str(number))
    assert item.progress is not None
    return format_sse_event(event="progress", data_str=JobSummary.from_row(item.progress).model_dump_json())


async def stream_to_websocket(
    api: Api, check_token: TokenCheck, socket: WebSocket, job: str | None, after: int | None
) -> None:
    """Sends events to a WebSocket as `{"type": ..., "event" | "job": ...}`, and `{"type": "alive"}` as a sign of life.

    Closes with 1000 when the job has ended, 1008 when the token is no longer valid, 1013 if a retry can help.
    """
    try:
        api.event_poller.check_stream_limit()
        if job is not None:
            await asyncio.to_thread(api.catalog.job, job)
    except (ApiError, CatalogError) as error:
        known = to_api_error(error)
        assert known is not None
        await refuse(known, socket.scope, socket.receive, socket.send)
        return
    protocol = "raylens" if "raylens" in socket.scope.get("subprotocols", []) else None
    await socket.accept(subprotocol=protocol)
    begin = await api.event_poller.head() if after is None else after
    sending = asyncio.create_task(_send(api, check_token, socket, job, begin))
    disconnect = asyncio.create_task(_disconnected(socket))
    try:
        await asyncio.wait({sending, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and not disconnect.done():
            await socket.close(*_close_reason(sending.exception()))
    finally:
        for task in (sending, disconnect):
            task.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await task


def _close_reason(error: BaseException | None) -> tuple[int, str]:
    """Close code and reason of a stream that ended."""
    if error is None:
        return 1000, "the job has ended"
    known = to_api_error(error) if isinstance(error, Exception) else None
    if known is None:
        log.error("a stream broke", exc_info=error)
        return 1011, "internal_error"
    return 1008 if known.status in (401, 403) else 1013, known.code


async def _send(api: Api, check_token: TokenCheck, socket: WebSocket, job: str | None, after: int) -> None:
    async with aclosing(_with_token_checks(api, check_token, job, after)) as items:
        async for item in items:
            if item is None:
                await socket.send_json({"type": "alive"})
            elif item.event is not None:
                event = Event.model_validate(item.event).model_dump(mode="json")
                await socket.send_json({"type": event["kind"], "event": event})
            elif item.progress is not None:
                await socket.send_json(
                    {"type": "progress", "job": JobSummary.from_row(item.progress).model_dump(mode="json")}
                )


async def _disconnected(socket: WebSocket) -> None:
    """Returns when the client disconnects. Its messages are ignored."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
