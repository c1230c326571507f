"""The events of all jobs, in one serialised sequence."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, WebSocket
from pydantic import Field
from starlette.responses import Response

from serve_app.dependencies import StillValid, TheApi
from serve_app.paging import INT64
from serve_app.paging import Query as Closed
from serve_app.schemas.jobs import Event
from serve_app.streaming.streams import SSE_DOCS, AfterSeq, LastEventId, sse, talk

router = APIRouter(prefix="/v1/events", tags=["events"])


class SeqQuery(Closed):
    """Query parameters of a page of events."""

    after: int = Field(0, ge=0, le=INT64, description="Only events with a higher `seq`.")
    limit: int = Field(200, ge=1, le=1000, description="Events on a page, at most.")


@router.get("", summary="Read the events of all jobs")
def list_all_events(api: TheApi, query: Annotated[SeqQuery, Query()]) -> list[Event]:
    """Events with a `seq` above `after`, in order. None ever appears below one that was seen."""
    return [Event.of(row) for row in api.records.changes(query.after, query.limit)]


@router.get("/stream", summary="Follow the events of all jobs", response_class=Response, responses={200: SSE_DOCS[200]})
async def follow_all(
    api: TheApi, still_valid: StillValid, query: Annotated[AfterSeq, Query()], last: LastEventId = None
) -> Response:
    """Server-Sent Events, from now on; `Last-Event-ID` or `after` resumes, on any replica. The ids are `seq`.

    The same by WebSocket at `/v1/events/ws?after=`. A stream ends soon after its token has been revoked.
    """
    return await sse(api, still_valid, None, query.after, last)


@router.websocket("/ws")
async def talk_all(
    socket: WebSocket, api: TheApi, still_valid: StillValid, query: Annotated[AfterSeq, Query()]
) -> None:
    """The events of all jobs as messages."""
    await talk(api, still_valid, socket, None, query.after)
