"""The events of all jobs, in one sequence."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, WebSocket
from pydantic import Field
from starlette.responses import Response

from serve_app.dependencies import ApiDep, TokenCheckDep
from serve_app.paging import INT64, StrictQuery
from serve_app.schemas.jobs import Event
from serve_app.streaming.streams import SSE_DOCS, AfterSeq, LastEventId, sse_response, stream_to_websocket

router = APIRouter(prefix="/v1/events", tags=["events"])


class SeqQuery(StrictQuery):
    """Query parameters of a page of events."""

    after: int = Field(0, ge=0, le=INT64, description="Only events with a higher `seq`.")
    limit: int = Field(200, ge=1, le=1000, description="Largest number of events.")


@router.get("", summary="Read the events of all jobs")
def list_all_events(api: ApiDep, query: Annotated[SeqQuery, Query()]) -> list[Event]:
    """Events with a `seq` above `after`, in order. New events always have a higher `seq`."""
    return [Event.model_validate(row) for row in api.catalog.changes(query.after, query.limit)]


@router.get("/stream", summary="Follow the events of all jobs", response_class=Response, responses={200: SSE_DOCS[200]})
async def stream_all_events(
    api: ApiDep, check_token: TokenCheckDep, query: Annotated[AfterSeq, Query()], last: LastEventId = None
) -> Response:
    """Server-Sent Events, from now on; `Last-Event-ID` or `after` resumes, on any replica. The ids are `seq`.

    A WebSocket at `/v1/events/ws?after=` sends the same. A stream ends soon after its token was revoked.
    """
    return await sse_response(api, check_token, None, query.after, last)


@router.websocket("/ws")
async def events_websocket(
    socket: WebSocket, api: ApiDep, check_token: TokenCheckDep, query: Annotated[AfterSeq, Query()]
) -> None:
    """The events of all jobs as messages."""
    await stream_to_websocket(api, check_token, socket, None, query.after)
