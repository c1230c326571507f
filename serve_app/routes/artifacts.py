"""The routes of every kind of artifact: create, list, get, label, delete, download. A new kind has them without a line here."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from configs.stages import STAGES
from serve_app import artifact_requests
from serve_app.artifact_requests import query_of
from serve_app.dependencies import Api, ApiDep, PrincipalDep
from serve_app.idempotency import IdempotencyKey
from serve_app.job_requests import submit_job
from serve_app.openapi.responses import ACCEPTED, problems
from serve_app.schemas.artifacts import Artifact, ArtifactItem
from serve_app.schemas.common import HexId, LabelUpdate, Page, SubmitRequest
from serve_app.schemas.jobs import Accepted
from serve_app.schemas.requests import stage_request

FileName = Annotated[str, Path(max_length=500, description="Name of a file, as the artifact's `files` lists it.")]
_ETAG = {"ETag": {"description": "Send it back in If-None-Match to get 304.", "schema": {"type": "string"}}}
NOT_CHANGED: dict[str, Any] = {"description": "The client has it already (If-None-Match).", "headers": _ETAG}
Reader = Callable[[Api, str], Artifact]
# The noun for one artifact, where it is not the kind's name without its `s`.
_NOUNS = {"saes": "SAE", "tokens": "tokens", "activations": "activations", "features": "features", "labels": "labels"}


def artifact_routes(
    kind: str,
    request: type[SubmitRequest] | None = None,
    model: type[Artifact] = Artifact,
    read: Reader | None = None,
    page: type[Page[ArtifactItem]] = Page[ArtifactItem],
) -> APIRouter:
    """A router for a kind. `request` creates one (default: the request of its stage), `model` and `read` give its details.

    `page` is the form of its list.
    """
    routes = APIRouter(prefix=f"/v1/{kind}", tags=[kind])
    noun = _NOUNS.get(kind, kind.removesuffix("s"))
    one = noun if noun == kind else f"{'an' if noun[0] in 'aeioS' else 'a'} {noun}"
    name = noun.lower()
    stage = next(entry for entry in STAGES.values() if kind in entry.kinds)
    request = request or stage_request(stage)
    list_query = query_of(kind)

    @routes.post(
        "",
        status_code=202,
        summary=f"Create {one}",
        operation_id=f"create_{name}",
        description=f"{request.__doc__}\n\nRuns the stage `{stage.name}`.",
        responses=ACCEPTED,
    )
    def create(
        api: ApiDep,
        principal: PrincipalDep,
        body: request,  # type: ignore[valid-type]
        response: Response,
        key: IdempotencyKey = None,
    ) -> Accepted:
        return submit_job(api, principal, key, body, response)

    @routes.get("", summary=f"List {kind}", operation_id=f"list_{kind}", response_model=page)
    def list_all(api: ApiDep, query: Annotated[list_query, Query()]) -> Response:  # type: ignore[valid-type]
        """The newest first unless `sort` and `order` say otherwise, filtered by all given parameters.

        Get the next page with `cursor` and the same parameters.
        """
        found = artifact_requests.list_kind(api, kind, query)
        return artifact_requests.json_response(page(items=found.items, next=found.next))

    @routes.get(
        "/{id}",
        summary=f"Get {one}",
        operation_id=f"get_{name}",
        response_model=model,
        responses={200: {"headers": _ETAG}, 304: NOT_CHANGED, **problems(404)},
    )
    def get(api: ApiDep, request: Request, id: HexId) -> Response:
        """With its config, files and provenance."""
        found = artifact_requests.artifact_detail(api, model, kind, id) if read is None else read(api, id)
        return artifact_requests.json_with_etag(request, found)

    @routes.patch(
        "/{id}", summary=f"Name, tag or annotate {one}", operation_id=f"label_{name}", responses=problems(404, 409)
    )
    def label(api: ApiDep, id: HexId, body: LabelUpdate) -> ArtifactItem:
        """Labels are for people: they change nothing else, and never the id."""
        return artifact_requests.relabel(api, kind, id, body)

    @routes.delete(
        "/{id}",
        summary=f"Delete {one}",
        operation_id=f"delete_{name}",
        status_code=204,
        responses=problems(404, s409="Something needs it: `referrers` names what was made from it, and live jobs."),
    )
    def delete(api: ApiDep, id: HexId) -> None:
        """Deletes it with its files. What something else was made from stays (409)."""
        artifact_requests.delete(api, kind, id)

    @routes.get(
        "/{id}/files/{file_name:path}",
        summary=f"Download one file of {one}",
        operation_id=f"get_{name}_file",
        response_class=Response,
        responses={
            200: _binary("The file.", "application/octet-stream"),
            206: _binary("The part that Range names.", "application/octet-stream"),
            304: NOT_CHANGED,
            **problems(404, 416),
        },
    )
    def download(api: ApiDep, request: Request, id: HexId, file_name: FileName) -> Response:
        """Its ETag is its SHA-256. `Range: bytes=FROM-TO` gives a part; any other Range is ignored."""
        return artifact_requests.file_response(request, artifact_requests.files_of(api, kind, id), file_name)

    @routes.get(
        "/{id}/archive",
        summary=f"Download {one} as a folder",
        operation_id=f"get_{name}_archive",
        response_class=Response,
        responses={200: _binary("A tar archive of one folder, named by the id.", "application/x-tar"), **problems(404)},
    )
    def archive(api: ApiDep, id: HexId) -> Response:
        """All its files in a tar archive: `curl ... | tar x`."""
        files = artifact_requests.files_of(api, kind, id)
        headers = {
            "Content-Disposition": f'attachment; filename="{id}.tar"',
            "Content-Length": str(artifact_requests.tar_size(files.manifest)),
        }
        return StreamingResponse(artifact_requests.tar_chunks(files), media_type="application/x-tar", headers=headers)

    return routes


def _binary(description: str, media_type: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}
