"""The log of a job: the output of its driver process and workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response as PlainResponse
from starlette.responses import StreamingResponse

from serve_app.dependencies import Api, ApiDep, TokenCheck, TokenCheckDep
from serve_app.errors import ApiError
from serve_app.openapi.responses import problems
from serve_app.paging import INT64, StrictQuery
from serve_app.schemas.common import JobId
from serve_app.streaming.events import KEEPALIVE_S
from serve_app.streaming.logs import read_log, tail_log

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
TEXT = "text/plain; charset=utf-8"


class LogQuery(StrictQuery):
    """Query parameters of a log."""

    offset: int | None = Field(None, ge=0, le=INT64, description="First byte; without it, the last `bytes` of the log.")
    bytes: int = Field(65_536, ge=1, le=1 << 20, description="Largest number of bytes, except for the rest of a line.")


class LogFrom(StrictQuery):
    """Query parameters of the stream of a log."""

    offset: int = Field(0, ge=0, le=INT64, description="First byte.")


@router.get(
    "/{id}/log",
    summary="Read the log of one job",
    response_class=PlainResponse,
    responses={
        200: {
            "description": "Text. `X-Next-Offset` is the `offset` of the next part.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "headers": {"X-Next-Offset": {"description": "Offset of the next part.", "schema": {"type": "integer"}}},
        },
        **problems(404),
    },
)
def get_log(api: ApiDep, id: JobId, query: Annotated[LogQuery, Query()]) -> PlainResponse:
    """Its last lines, or a part of it, in whole lines. Paths are shortened, and stack frames removed."""
    ended = not api.catalog.job(id).live
    text, offset = read_log(api.settings.home, id, query.offset, query.bytes, ended)
    return PlainResponse(text, media_type=TEXT, headers={"X-Next-Offset": str(offset)})


@router.get(
    "/{id}/log/stream",
    summary="Follow the log of one job",
    response_class=PlainResponse,
    responses={
        200: {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(404),
    },
)
async def stream_job_log(
    api: ApiDep, check_token: TokenCheckDep, id: JobId, query: Annotated[LogFrom, Query()]
) -> PlainResponse:
    """The log and all that is added to it until the job has ended. After a break, continue with `.../log?offset=`."""
    await asyncio.to_thread(api.catalog.job, id)
    api.event_poller.check_stream_limit()
    return StreamingResponse(_followed(api, check_token, id, query.offset), media_type=TEXT)


async def _followed(api: Api, check_token: TokenCheck, id: str, offset: int) -> AsyncIterator[str]:
    checked = time.monotonic()

    async def may_continue() -> bool:
        nonlocal checked
        if time.monotonic() - checked >= KEEPALIVE_S:
            checked = time.monotonic()
            try:
                await check_token()
            except ApiError:
                return False
        return True

    with suppress(ApiError), api.event_poller.counted():
        async for text in tail_log(api.settings.home, id, offset, lambda: not api.catalog.job(id).live, may_continue):
            yield text
