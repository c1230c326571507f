"""Jobs: submit any stage; list, follow, cancel and resume the jobs that anyone submitted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response, WebSocket
from pydantic import Field
from starlette.responses import Response as PlainResponse

from cluster.catalog import State
from cluster.catalog.job_queries import JobSort
from cluster.catalog.list_order import Order
from configs.stages import StageName
from jobs.life.control import request_end, resume
from serve_app.artifact_requests import json_response
from serve_app.dependencies import Api, ApiDep, PrincipalDep, TokenCheckDep
from serve_app.idempotency import IdempotencyKey
from serve_app.job_checks import check_job
from serve_app.job_requests import submit_job
from serve_app.local_paths import shown_paths
from serve_app.openapi.responses import ACCEPTED, FOLLOW, problems
from serve_app.paging import INT64, Direction, Paged, StrictQuery, decode_place, encode_place
from serve_app.schemas.checks import JobCheck
from serve_app.schemas.common import JobId, LabelUpdate, Page, Project, Tag
from serve_app.schemas.jobs import Accepted, Event, Job, JobSummary
from serve_app.schemas.requests import JobRequest
from serve_app.streaming.streams import SSE_DOCS, After, LastEventId, sse_response, stream_to_websocket

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class JobQuery(Paged):
    """Query parameters of the list of jobs."""

    sort: JobSort = Field("created", description="What to sort by; ties have the newest first.")
    order: Direction = "desc"
    stage: StageName | None = Field(None, description="Only jobs of this stage.")
    state: list[State] = Field([], max_length=8, description="Only jobs in one of these states; may be repeated.")
    project: Project | None = Field(None, description="Only jobs of this project.")
    name: str | None = Field(None, max_length=100, description="Only the job of this name.")
    tag: Tag | None = Field(None, description="Only jobs with this tag.")
    created_by: str | None = Field(None, max_length=200, description="Only jobs that this one submitted.")
    parent: JobId | None = Field(None, description="Only jobs that were submitted for this one.")


class EventQuery(StrictQuery):
    """Query parameters of a page of events."""

    after: int = Field(0, ge=0, le=INT64, description="Only events with a higher number.")
    limit: int = Field(200, ge=1, le=1000, description="Largest number of events.")


@router.post("", status_code=202, responses=ACCEPTED, summary="Run any stage, or a whole pipeline")
def create_job(
    api: ApiDep, principal: PrincipalDep, body: JobRequest, response: Response, key: IdempotencyKey = None
) -> Accepted:
    """`config` is the content of a stage's YAML file: an input is a reference, or the config of the stage that makes it.

    Missing inputs are made first, by jobs of their own. The same request again gets the same job, or the finished artifacts.
    """
    return submit_job(api, principal, key, body, response)


@router.post("/check", summary="Check a request for a job before it is submitted")
def check_job_request(api: ApiDep, body: JobRequest) -> JobCheck:
    """Whether it would start now, wait or never fit, with what it requires and what there is; and what of it exists already.

    Nothing is run or recorded. What submitting it would refuse for its config or inputs is refused here in the same words.
    """
    return check_job(api, body)


@router.get("", summary="List jobs", response_model=Page[JobSummary])
def list_jobs(api: ApiDep, query: Annotated[JobQuery, Query()]) -> PlainResponse:
    """The newest first unless `sort` and `order` say otherwise. Get the next page with `cursor` and the same parameters."""
    order = Order(query.sort, query.order == "desc")
    found = api.catalog.sorted_jobs(
        order,
        stage=query.stage,
        states=query.state or None,
        project=query.project,
        name=query.name,
        tag=query.tag,
        created_by=query.created_by,
        parent=query.parent,
        after=decode_place(query.cursor, order, "number" if query.sort == "created" else "text"),
        limit=query.limit + 1,
    )
    more = len(found) > query.limit
    found = found[: query.limit]
    items = [JobSummary.from_row(one.row) for one in found]
    return json_response(Page[JobSummary](items=items, next=encode_place(order, found[-1].place) if more else None))


@router.get("/{id}", summary="Get one job", responses=problems(404))
def get_job(api: ApiDep, id: JobId) -> Job:
    """With its config, attempts and progress."""
    return _job_detail(api, id)


@router.patch("/{id}", summary="Name, tag or annotate one job", responses=problems(404, 409))
def label_job(api: ApiDep, id: JobId, body: LabelUpdate) -> Job:
    """Labels are for people: they change nothing else."""
    api.catalog.set_labels(id, name=body.name, tags=body.tags, notes=body.notes)
    return _job_detail(api, id)


class CancelQuery(StrictQuery):
    """Query parameters of a cancellation."""

    how: str = Field(
        "cancel",
        pattern="^(stop|cancel)$",
        description="`stop`: finish the block, write a checkpoint and end. `cancel`: end now; the last checkpoint is kept.",
    )


@router.post(
    "/{id}/cancel",
    status_code=202,
    summary="Stop or cancel one job",
    responses={202: FOLLOW, **problems(404, s409="It has ended already.")},
)
def cancel_job(api: ApiDep, id: JobId, response: Response, query: Annotated[CancelQuery, Query()]) -> JobSummary:
    """The job is CANCELLING at once, and CANCELLED when its processes have ended. It can be resumed."""
    response.headers["Location"] = f"/v1/jobs/{id}"
    return JobSummary.from_row(request_end(api.catalog, id, "stop" if query.how == "stop" else "cancel"))


@router.post(
    "/{id}/resume",
    status_code=202,
    summary="Resume one job",
    responses={202: FOLLOW, **problems(404, s409="It has not ended, or it has succeeded.")},
)
def resume_job(api: ApiDep, principal: PrincipalDep, id: JobId, response: Response) -> JobSummary:
    """The next attempt continues from the last checkpoint. For a job that failed, was stopped, cancelled or lost."""
    response.headers["Location"] = f"/v1/jobs/{id}"
    return JobSummary.from_row(resume(api.catalog, id, f"api:{principal.name}"))


@router.get("/{id}/events", summary="Read the events of one job", responses=problems(404))
def list_events(api: ApiDep, id: JobId, query: Annotated[EventQuery, Query()]) -> list[Event]:
    """Events with numbers above `after`, in order."""
    api.catalog.job(id)
    return [Event.model_validate(row) for row in api.catalog.events(id, query.after, query.limit)]


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

    A WebSocket sends the same at `/v1/jobs/{id}/events/ws?after=`: messages `{"type": "state" | "log", "event": {...}}` and
    `{"type": "progress", "job": {...}}`, and `{"type": "alive"}` as a sign of life. A stream ends soon after its token
    was revoked.
    """
    return await sse_response(api, check_token, id, query.after, last)


@router.websocket("/{id}/events/ws")
async def job_events_websocket(
    socket: WebSocket, api: ApiDep, check_token: TokenCheckDep, id: JobId, query: Annotated[After, Query()]
) -> None:
    """The events of one job as messages."""
    await stream_to_websocket(api, check_token, socket, id, query.after)


def _job_detail(api: Api, id: str) -> Job:
    row = api.catalog.job(id)
    config: dict[str, Any] = shown_paths(row.config, api.settings.data_roots)
    return Job.detail(row, api.catalog.attempts(id), config)
