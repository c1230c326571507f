"""Lists, details, labels, deletion and files of artifacts of any kind."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, Field, create_model
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from cluster.catalog import ArtifactRow
from cluster.catalog.artifact_order import artifact_sorts
from cluster.catalog.index_fields import Value, filters_of
from cluster.catalog.list_order import CREATED, Order
from cluster.store import ArtifactFiles, Manifest
from configs.artifact_ids import ArtifactRef
from serve_app.dependencies import Api
from serve_app.errors import ApiError, not_found
from serve_app.local_paths import shown_paths
from serve_app.paging import INT64, Direction, Paged, decode, decode_place, encode, encode_place
from serve_app.schemas.artifacts import Artifact, ArtifactItem
from serve_app.schemas.common import LabelUpdate, Page, Project, Tag

M = TypeVar("M", bound=Artifact)
_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")


_FILTER_TYPES: dict[str, Any] = {
    "text": Annotated[str, Field(min_length=1, max_length=200)],
    "integer": Annotated[int, Field(ge=-INT64, le=INT64)],
    "number": Annotated[float, Field(allow_inf_nan=False)],
}


class ArtifactQuery(Paged):
    """Query parameters of a list of artifacts."""

    project: Project | None = Field(None, description="Only artifacts of this project.")
    name: str | None = Field(None, max_length=100, description="Only the artifact of this name.")
    tag: Tag | None = Field(None, description="Only artifacts with this tag.")


class KindQuery(ArtifactQuery):
    """Query parameters of a list of artifacts of one kind."""

    sort: str = CREATED
    order: Direction = "desc"

    @property
    def filters(self) -> dict[str, Value]:
        """The filters of the kind that are given."""
        own = {name: getattr(self, name) for name in type(self).model_fields.keys() - KindQuery.model_fields.keys()}
        return {name: value for name, value in own.items() if value is not None}

    @property
    def in_order(self) -> Order:
        """How it is sorted."""
        return Order(self.sort, self.order == "desc")


def query_of(kind: str) -> type[KindQuery]:
    """The query parameters of the list of a kind: those of every list, its order, and a filter for each field of the kind."""
    sorts: Any = Literal[tuple(artifact_sorts(kind))]
    sort = Field(
        CREATED, description="What to sort by; what has no value of it comes last, ties have the newest first."
    )
    filters: dict[str, Any] = {
        name: (_FILTER_TYPES[field.type] | None, Field(None, description=field.description))
        for name, field in filters_of(kind).items()
    }
    create = cast(Any, create_model)
    made: type[KindQuery] = create(
        f"{kind.capitalize()}Query", __base__=KindQuery, __module__=__name__, sort=(sorts, sort), **filters
    )
    return made


def list_kind(api: Api, kind: str, query: KindQuery) -> Page[ArtifactItem]:
    """Artifacts of a kind, filtered and sorted. Raises ApiError (422) for a cursor of another order."""
    order = query.in_order
    found = api.catalog.sorted_artifacts(
        kind,
        order,
        query.limit + 1,
        project=query.project,
        name=query.name,
        tag=query.tag,
        after=decode_place(query.cursor, order, artifact_sorts(kind)[order.by]),
        filters=query.filters,
    )
    more = len(found) > query.limit
    found = found[: query.limit]
    items = [ArtifactItem.from_row(one.row) for one in found]
    return Page[ArtifactItem](items=items, next=encode_place(order, found[-1].place) if more else None)


def list_all(api: Api, query: ArtifactQuery) -> Page[ArtifactItem]:
    """Artifacts of all kinds, the newest first."""
    before = decode(query.cursor, int)[0] if query.cursor else None
    rows = api.catalog.artifacts(
        None, query.limit + 1, project=query.project, name=query.name, tag=query.tag, before=before
    )
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    items = [ArtifactItem.from_row(row) for row in rows]
    return Page[ArtifactItem](items=items, next=encode(rows[-1].seq) if more else None)


def row_of(api: Api, kind: str, id: str) -> ArtifactRow:
    """One row. Raises ApiError (404)."""
    row = api.catalog.artifact(ArtifactRef(kind, id))
    if row is None:
        raise not_found(f"artifact {kind}/{id}")
    return row


def files_of(api: Api, kind: str, id: str) -> ArtifactFiles:
    """The files of an artifact that the catalog has. Raises ApiError (404)."""
    row_of(api, kind, id)
    manifest = api.store.manifest(ArtifactRef(kind, id))
    if manifest is None:
        raise not_found(f"artifact {kind}/{id} in the store: its files were deleted; submit its job again")
    return ArtifactFiles(api.store, manifest)


def artifact_detail(api: Api, model: type[M], kind: str, id: str, **more: Any) -> M:
    """One artifact with its manifest. Raises ApiError (404)."""
    row = row_of(api, kind, id)
    manifest = files_of(api, kind, id).manifest
    return model.detail(row, manifest, config_of(api, manifest), **more)


def config_of(api: Api, manifest: Manifest) -> dict[str, Any]:
    """An artifact's config for clients."""
    config: dict[str, Any] = shown_paths(manifest.config, api.settings.data_roots)
    return config


def relabel(api: Api, kind: str, id: str, body: LabelUpdate) -> ArtifactItem:
    """Changes labels. Raises ApiError (404), NameTaken."""
    row_of(api, kind, id)
    row = api.catalog.set_labels(ArtifactRef(kind, id), name=body.name, tags=body.tags, notes=body.notes)
    assert isinstance(row, ArtifactRow)
    return ArtifactItem.from_row(row)


def delete(api: Api, kind: str, id: str) -> None:
    """Deletes an artifact: from the catalog first, which refuses if something uses it, then its files.

    Raises ApiError (404), InUse.
    """
    row_of(api, kind, id)
    ref = ArtifactRef(kind, id)
    api.catalog.delete_artifact(ref)
    api.store.delete(ref)


def json_response(body: BaseModel) -> Response:
    """The body as JSON. FastAPI would validate every value once more, which takes as long as reading them."""
    return Response(body.model_dump_json(), media_type="application/json")


def json_with_etag(request: Request, body: BaseModel) -> Response:
    """The body as JSON with a strong ETag, or 304 if the client has it."""
    data = body.model_dump_json().encode()
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="application/json", headers=headers)


class _FullFileResponse(FileResponse):
    """A whole file, whatever the Range header is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def file_response(request: Request, files: ArtifactFiles, name: str) -> Response:
    """One file, or the part that Range names. Only names in the manifest are files.

    A Range that is not one `bytes=FROM-TO` is ignored. Raises ApiError (416) for one beyond the end.
    """
    found = next((one for one in files.manifest.files if one.name == name), None)
    if found is None:
        raise not_found(f"file of that name in {files.ref}")
    etag = f'"{found.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    response = FileResponse if _is_part(request, found.size, etag) else _FullFileResponse
    return response(
        files.path(name),
        media_type="application/octet-stream",
        filename=f"{files.ref.id}-{Path(name).name}",
        headers=headers,
    )


def _is_part(request: Request, size: int, etag: str) -> bool:
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or request.headers.get("if-range", etag) != etag:
        return False
    first, last, suffix = match.groups()
    if suffix is not None and int(suffix) and size:
        return True
    if suffix is not None or int(first) >= size:
        raise ApiError(416, "range_not_satisfiable", f"the file has {size} bytes", {"Content-Range": f"bytes */{size}"})
    return not last or int(last) >= int(first)


def tar_chunks(files: ArtifactFiles) -> Iterator[bytes]:
    """All files as one tar archive, in a folder of the artifact's id. Equal artifacts give equal archives.

    Two empty blocks end it: it is not padded to a whole record, which readers do not need.
    """
    for one in files.manifest.files:
        info = tarfile.TarInfo(f"{files.ref.id}/{one.name}")
        info.size = one.size
        yield info.tobuf(tarfile.PAX_FORMAT)
        with files.path(one.name).open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk
        yield bytes(-one.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def tar_size(manifest: Manifest) -> int:
    """Bytes of the archive that `tar_chunks` makes."""
    block = tarfile.BLOCKSIZE
    heads = (len(tarfile.TarInfo(f"{manifest.id}/{one.name}").tobuf(tarfile.PAX_FORMAT)) for one in manifest.files)
    return sum(heads) + sum(one.size + -one.size % block for one in manifest.files) + 2 * block
