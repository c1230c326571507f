"""Event streams on the wire: Server-Sent Events, and the same as messages of a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, Any

from fastapi import Header, WebSocket, WebSocketDisconnect
from fastapi.sse import format_sse_event
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from serve_app.api import Api
from serve_app.errors import ApiError
from serve_app.events import Item, follow, is_over
from serve_app.paging import INT64, Query
from serve_app.schemas.jobs import Event, JobSummary

RETRY_MS = 1000
SSE_DOCS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of events. Each has the fields of `Event` as JSON in `data`, its number as `id`, and "
        "`state` or `log` as its name. In between, at most once a second, `progress` with the fields of a job; it has no "
        "`id`, and is not sent again.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "examples": {
            "job": {"value": 'event: state\ndata: {"seq":17,"number":3,"job":"train-0f3c9a7b21","state":"RUNNING"}\n'
                             "id: 3\n\n"}}}},
    },
    204: {"description": "The job has ended and the client has all its events: a browser's EventSource stops here."},
}  # fmt: skip
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[0-9]{1,18}$",
        description="Number of the last event that the client has: the stream goes on after it. Wins over `after`.",
    ),
]


class After(Query):
    """Where a stream of one job begins."""

    after: int = Field(0, ge=0, le=INT64, description="Only events with a higher number.")


class AfterSeq(Query):
    """Where a stream of all jobs begins."""

    after: int | None = Field(
        None, ge=0, le=INT64, description="Only events with a higher number; if not given, only what comes from now on."
    )


async def sse(api: Api, job: str | None, after: int | None, last: str | None) -> Response:
    """The answer to a request for a stream. Raises RecordsError if there is no such job."""
    begin = int(last) if last is not None else after
    if job is not None and await asyncio.to_thread(is_over, api.records, job, begin or 0) and last is not None:
        return Response(status_code=204)
    if begin is None:
        begin = await api.pulse.head()
    if api.pulse.open >= api.settings.streams:
        raise ApiError(503, "too_many_streams", f"{api.settings.streams} streams are open", {"Retry-After": "10"})
    return StreamingResponse(
        _frames(api, job, begin), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _frames(api: Api, job: str | None, after: int) -> AsyncIterator[bytes]:
    yield format_sse_event(comment="RayLens events", retry=RETRY_MS)
    async with aclosing(follow(api.pulse, api.records, job, after)) as items:
        async for item in items:
            yield format_sse_event(comment="still here") if item is None else _frame(item, job)


def _frame(item: Item, job: str | None) -> bytes:
    if item.event is not None:
        event = Event.of(item.event)
        number = event.seq if job is None else event.number
        return format_sse_event(event=event.kind, data_str=event.model_dump_json(), id=str(number))
    assert item.progress is not None
    return format_sse_event(event="progress", data_str=JobSummary.of(item.progress).model_dump_json())


async def talk(api: Api, socket: WebSocket, job: str | None, after: int | None) -> None:
    """Sends the same to a WebSocket, as `{"type": ..., "event" | "job": ...}`. Closes with 1000 once the job has ended."""
    if api.pulse.open >= api.settings.streams:
        await socket.close(1013, "too many streams")
        return
    protocol = "raylens" if "raylens" in socket.scope.get("subprotocols", []) else None
    await socket.accept(subprotocol=protocol)
    begin = await api.pulse.head() if after is None else after
    sending = asyncio.create_task(_send(api, socket, job, begin))
    leaving = asyncio.create_task(_gone(socket))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and not leaving.done():
            sending.result()
            await socket.close(1000)
    finally:
        for task in (sending, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await task


async def _send(api: Api, socket: WebSocket, job: str | None, after: int) -> None:
    async with aclosing(follow(api.pulse, api.records, job, after)) as items:
        async for item in items:
            if item is None:
                await socket.send_json({"type": "alive"})
            elif item.event is not None:
                event = Event.of(item.event).model_dump(mode="json")
                await socket.send_json({"type": event["kind"], "event": event})
            elif item.progress is not None:
                await socket.send_json(
                    {"type": "progress", "job": JobSummary.of(item.progress).model_dump(mode="json")}
                )


async def _gone(socket: WebSocket) -> None:
    """Ends when the client does. What it sends is not looked at."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
