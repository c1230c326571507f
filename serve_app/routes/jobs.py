"""Jobs: every stage can be asked for here; what was asked for anywhere is listed, followed, cancelled and resumed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response, WebSocket
from pydantic import Field
from starlette.responses import Response as PlainResponse

from cluster.records import State
from configs.stages import StageName
from jobs.life.control import ask, resume
from serve_app.artifacts import json_response
from serve_app.dependencies import Api, ApiDep, PrincipalDep, TokenCheckDep
from serve_app.idempotency import IdempotencyKey
from serve_app.job_requests import submit_job
from serve_app.local_paths import shown_paths
from serve_app.openapi.responses import ACCEPTED, FOLLOW, problems
from serve_app.paging import INT64, Paged, StrictQuery, decode, encode
from serve_app.schemas.common import JobId, LabelUpdate, Page, Project, Tag
from serve_app.schemas.jobs import Accepted, Event, Job, JobSummary
from serve_app.schemas.requests import JobRequest
from serve_app.streaming.streams import SSE_DOCS, After, LastEventId, sse_response, stream_to_websocket

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class JobQuery(Paged):
    """Query parameters of the list of jobs."""

    stage: StageName | None = Field(None, description="Only jobs of this stage.")
    state: list[State] = Field([], max_length=8, description="Only jobs in one of these states; may be repeated.")
    project: Project | None = Field(None, description="Only jobs of this project.")
    name: str | None = Field(None, max_length=100, description="Only the job of this name.")
    tag: Tag | None = Field(None, description="Only jobs with this tag.")
    created_by: str | None = Field(None, max_length=200, description="Only jobs that this one asked for.")
    parent: JobId | None = Field(None, description="Only jobs that were made on behalf of this one.")


class EventQuery(StrictQuery):
    """Query parameters of a page of events."""

    after: int = Field(0, ge=0, le=INT64, description="Only events with a higher number.")
    limit: int = Field(200, ge=1, le=1000, description="Events on a page, at most.")


@router.post("", status_code=202, responses=ACCEPTED, summary="Run any stage, or a whole pipeline")
def create_job(
    api: ApiDep, principal: PrincipalDep, body: JobRequest, response: Response, key: IdempotencyKey = None
) -> Accepted:
    """`config` is what a stage's YAML file holds: an input is a reference, or the config of the stage that makes it.

    What is missing is made first, as jobs of their own. An equal request gets the job or the artifacts that are there.
    """
    return submit_job(api, principal, key, body, response)


@router.get("", summary="List jobs", response_model=Page[JobSummary])
def list_jobs(api: ApiDep, query: Annotated[JobQuery, Query()]) -> PlainResponse:
    """The last submitted first. Ask for the next page with `cursor`."""
    rows = api.records.jobs(
        stage=query.stage,
        states=query.state or None,
        project=query.project,
        name=query.name,
        tag=query.tag,
        created_by=query.created_by,
        parent=query.parent,
        before=decode(query.cursor, int)[0] if query.cursor else None,
        limit=query.limit + 1,
    )
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    items = [JobSummary.from_row(row) for row in rows]
    return json_response(Page[JobSummary](items=items, next=encode(rows[-1].seq) if more else None))


@router.get("/{id}", summary="Get one job", responses=problems(404))
def get_job(api: ApiDep, id: JobId) -> Job:
    """With its config, its attempts and how far it is."""
    return _job_detail(api, id)


@router.patch("/{id}", summary="Name, tag or annotate one job", responses=problems(404, 409))
def label_job(api: ApiDep, id: JobId, body: LabelUpdate) -> Job:
    """Labels are for people: they change nothing else."""
    api.records.set_labels(id, name=body.name, tags=body.tags, notes=body.notes)
    return _job_detail(api, id)


class CancelQuery(StrictQuery):
    """How to end a job."""

    how: str = Field(
        "cancel",
        pattern="^(stop|cancel)$",
        description="`stop`: finish the block, write a checkpoint, end. `cancel`: end now; the last checkpoint stays.",
    )


@router.post(
    "/{id}/cancel",
    status_code=202,
    summary="Stop or cancel one job",
    responses={202: FOLLOW, **problems(404, s409="It has ended already.")},
)
def cancel_job(api: ApiDep, id: JobId, response: Response, query: Annotated[CancelQuery, Query()]) -> JobSummary:
    """It is CANCELLING at once and CANCELLED when its work is gone. It can be resumed."""
    response.headers["Location"] = f"/v1/jobs/{id}"
    return JobSummary.from_row(ask(api.records, id, "stop" if query.how == "stop" else "cancel"))


@router.post(
    "/{id}/resume",
    status_code=202,
    summary="Resume one job",
    responses={202: FOLLOW, **problems(404, s409="It has not ended, or it has succeeded.")},
)
def resume_job(api: ApiDep, principal: PrincipalDep, id: JobId, response: Response) -> JobSummary:
    """The next attempt goes on from what is safe on disk. For a job that failed, was stopped, cancelled or lost."""
    response.headers["Location"] = f"/v1/jobs/{id}"
    return JobSummary.from_row(resume(api.records, id, f"api:{principal.name}"))


@router.get("/{id}/events", summary="Read the events of one job", responses=problems(404))
def list_events(api: ApiDep, id: JobId, query: Annotated[EventQuery, Query()]) -> list[Event]:
    """Events with numbers above `after`, in order. For clients that ask again; see also the stream."""
    api.records.job(id)
    return [Event.from_row(row) for row in api.records.events(id, query.after, query.limit)]


@router.get(
    "/{id}/events/stream",
    summary="Follow the events of one job",
    response_class=PlainResponse,
    responses={**SSE_DOCS, **problems(404)},
)
async def stream_job_events(
    api: ApiDep, check_token: TokenCheckDep, id: JobId, query: Annotated[After, Query()], last: LastEventId = None
) -> PlainResponse:
    """Server-Sent Events, from the first one on, until the job has ended. `Last-Event-ID` or `after` resumes.

    The same by WebSocket at `/v1/jobs/{id}/events/ws?after=`: messages `{"type": "state" | "log", "event": {...}}` and
    `{"type": "progress", "job": {...}}`, and `{"type": "alive"}` while nothing happens. A stream ends soon after its token
    has been revoked.
    """
    return await sse_response(api, check_token, id, query.after, last)


@router.websocket("/{id}/events/ws")
async def job_events_websocket(
    socket: WebSocket, api: ApiDep, check_token: TokenCheckDep, id: JobId, query: Annotated[After, Query()]
) -> None:
    """The events of one job as messages."""
    await stream_to_websocket(api, check_token, socket, id, query.after)


def _job_detail(api: Api, id: str) -> Job:
    row = api.records.job(id)
    config: dict[str, Any] = shown_paths(row.config, api.settings.data_roots)
    return Job.detail(row, api.records.attempts(id), config)
