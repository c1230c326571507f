"""Uploads: files that a client sends piece by piece. A finished upload is a source of datasets and models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from jobs.upload_users import upload_users
from sae.sources.uploads import Piece, UploadError, Uploads
from serve_app.dependencies import Api, ApiDep, PrincipalDep
from serve_app.errors import ApiError
from serve_app.openapi.responses import problems
from serve_app.paging import INT64, Paged, decode, encode
from serve_app.schemas.common import HexId, Page
from serve_app.schemas.uploads import UploadDetail, UploadedPiece, UploadFinish, UploadRequest, UploadSummary

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
_BUFFER = 1 << 20  # bytes that are written at once
_IDLE_S = 60.0  # without a byte: a client that is gone would hold the file's lock for ever
_STATUS = {
    "not_found": 404, "wrong_offset": 409, "upload_finished": 409, "upload_busy": 409, "name_conflict": 409,
    "too_large": 413, "no_space": 507,
}  # fmt: skip
UploadedFile = Annotated[
    str, Path(min_length=1, max_length=500, description="Name of the file, with `/` between folders.")
]
Offset = Annotated[
    int, Header(alias="Upload-Offset", ge=0, le=INT64, description="Where the piece begins: the bytes that have come.")
]
_PIECE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of the piece.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def _uploads(api: Api) -> Uploads:
    return Uploads(api.settings.uploads_folder, api.settings.upload_bytes)


@contextmanager
def _as_problems() -> Iterator[None]:
    """An UploadError as the problem that answers it."""
    try:
        yield
    except UploadError as error:
        headers = {} if error.offset is None else {"Upload-Offset": str(error.offset)}
        extra = {} if error.offset is None else {"offset": error.offset}
        raise ApiError(_STATUS.get(error.code, 422), error.code, str(error), headers, **extra) from None


@router.post("", status_code=201, summary="Create an upload")
def create_upload(api: ApiDep, principal: PrincipalDep, body: UploadRequest, response: Response) -> UploadDetail:
    """Then send its files in pieces, and finish it with their hashes."""
    made = UploadDetail.of(_uploads(api).create(body.name, f"api:{principal.name}"))
    response.headers["Location"] = f"/v1/uploads/{made.id}"
    return made


@router.get("", summary="List uploads")
def list_uploads(api: ApiDep, query: Annotated[Paged, Query()]) -> Page[UploadSummary]:
    """The newest first."""
    after = tuple(decode(query.cursor, (float, int), str)) if query.cursor else None
    found = [
        upload
        for upload in _uploads(api).all()
        if after is None or (-upload.record.created_at, upload.record.id) > (-after[0], after[1])
    ]
    shown = found[: query.limit]
    last = encode(shown[-1].record.created_at, shown[-1].record.id) if len(found) > query.limit else None
    return Page[UploadSummary](items=[UploadSummary.of(upload) for upload in shown], next=last)


@router.get("/{id}", summary="Get an upload", responses=problems(404))
def get_upload(api: ApiDep, id: HexId) -> UploadDetail:
    """With its files, and the bytes of each that have come."""
    with _as_problems():
        return UploadDetail.of(_uploads(api).get(id))


@router.patch(
    "/{id}/files/{file_name:path}",
    summary="Send a piece of a file",
    openapi_extra=_PIECE,
    responses=problems(
        404,
        507,
        s409="`wrong_offset`: the piece does not begin where the file ends, which `offset` and the header Upload-Offset "
        "name. `upload_busy`: another request sends to this file. `upload_finished`: it does not change any more.",
    ),
)
async def send_piece(
    api: ApiDep, request: Request, id: HexId, file_name: UploadedFile, offset: Offset, response: Response
) -> UploadedPiece:
    """Appends the body to a file; the first piece, at offset 0, makes the file.

    After a cut, go on at the file's `bytes`: what has come is kept. A piece has at most 64 MiB.
    """
    length = int(request.headers.get("content-length", "0"))  # the guard has checked it
    with _as_problems():
        opening = _uploads(api).piece(id, file_name, offset, length)
        piece = await run_in_threadpool(opening.__enter__)
        try:
            await _receive(request, piece)
        finally:
            # To its end, even if this request is cancelled: it makes durable what has come, and frees the file.
            await asyncio.shield(asyncio.to_thread(opening.__exit__, None, None, None))
    response.headers["Upload-Offset"] = str(piece.end)
    return UploadedPiece(name=file_name, bytes=piece.end)


async def _receive(request: Request, piece: Piece) -> None:
    """Writes the body as it comes; only a buffer of it is in memory. Raises ApiError (408), UploadError."""
    chunks = request.stream()
    buffer = bytearray()
    try:
        while True:
            async with asyncio.timeout(_IDLE_S):
                chunk = await anext(chunks, None)
            if chunk is not None:
                buffer += chunk
            if len(buffer) >= _BUFFER or (chunk is None and buffer):
                await run_in_threadpool(piece.write, bytes(buffer))
                buffer.clear()
            if chunk is None:
                return
    except TimeoutError:
        raise ApiError(
            408, "request_timeout", f"no byte came for {_IDLE_S:.0f} seconds", {"Connection": "close"}
        ) from None
    except ClientDisconnect:  # nobody waits for an answer; what has come is kept
        if buffer:
            await run_in_threadpool(piece.write, bytes(buffer))


@router.post(
    "/{id}/finish",
    summary="Finish an upload",
    responses=problems(
        404,
        s409="`upload_busy`: a piece is being sent. `upload_finished`: it was finished with other hashes.",
        s422="`wrong_files`: the hashes are not those of exactly its files. `wrong_hash`: a file holds something else.",
    ),
)
def finish_upload(api: ApiDep, id: HexId, body: UploadFinish) -> UploadDetail:
    """Checks the hash of each file. Then the upload can be a source, and does not change any more."""
    with _as_problems():
        return UploadDetail.of(_uploads(api).finish(id, body.files))


@router.delete(
    "/{id}/files/{file_name:path}",
    status_code=204,
    summary="Delete a file of an unfinished upload",
    responses=problems(404, s409="The upload is finished, or a piece is being sent."),
)
def delete_upload_file(api: ApiDep, id: HexId, file_name: UploadedFile) -> None:
    """Send it again from offset 0 then."""
    with _as_problems():
        _uploads(api).remove_file(id, file_name)


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete an upload",
    responses=problems(404, s409="`in_use`: live jobs read it. `upload_busy`: a piece is being sent."),
)
def delete_upload(api: ApiDep, id: HexId) -> None:
    """With its files. What was made of it stays."""
    with _as_problems():
        _uploads(api).get(id)
        if users := upload_users(api.catalog).get(id):
            raise ApiError(409, "in_use", f"jobs read upload {id}: {', '.join(users[:5])}", referrers=users[:100])
        _uploads(api).remove(id)
