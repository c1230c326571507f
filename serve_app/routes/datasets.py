"""Datasets: documents from the hub, a package, an upload or one of the server's data folders."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import Field

from sae.formats.dataset import OWN_COLUMNS, DatasetReader, read_messages
from sae.text.document_search import DocumentQuery, find_documents, parse_where
from sae.text.text_search import TextSearch, text_search
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.openapi.responses import problems
from serve_app.paging import decode, encode
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.artifacts import Artifact
from serve_app.schemas.common import HexId
from serve_app.schemas.requests import DatasetRequest
from serve_app.schemas.searches import ChatMessage, Sample, SamplePage, SampleQuery


class Dataset(Artifact):
    """A dataset with its statistics."""

    statistics: dict[str, Any] = Field(
        description="Lengths of documents in characters, share of each split and which are missing, scripts by Unicode "
        "block, texts that occur more than once within and across splits, and near duplicates if they were looked for."
    )


def _read(api: Api, id: str) -> Dataset:
    found = artifact_requests.row_of(api, "datasets", id).summary.get("statistics", {})
    return artifact_requests.artifact_detail(api, Dataset, "datasets", id, statistics=found)


router = artifact_routes("datasets", DatasetRequest, Dataset, _read)


@router.get("/{id}/samples", summary="Read documents of a dataset", responses=problems(404), response_model=SamplePage)
def list_samples(api: ApiDep, id: HexId, query: Annotated[SampleQuery, Query()]) -> Response:
    """Documents in their order, searched and filtered. Get the next page with `cursor` and the same parameters.

    A page of a search ends after `limit` documents or about `seconds`, and says how many documents it looked at.
    """
    reader = DatasetReader(artifact_requests.files_of(api, "datasets", id))
    search = text_search(query.contains, query.regex, query.ignore_case)
    wanted = DocumentQuery(query.split, parse_where(query.where, reader.info.columns), search)
    start = max(0, decode(query.cursor, int)[0]) if query.cursor else 0
    found = find_documents(reader, wanted, start, query.limit, query.seconds)
    page = SamplePage(
        items=[_sample(row, query.characters, search) for row in found.items],
        next=None if found.next is None else encode(found.next),
        looked_at=found.looked_at,
        total=found.total,
    )
    return artifact_requests.json_response(page)


def _sample(row: dict[str, Any], characters: int, search: TextSearch | None) -> Sample:
    messages = read_messages(row)
    match = None if search is None else search.first(row["text"])
    # The window moves only as far as a match within it needs.
    start = 0 if match is None or match < characters else match - characters // 2
    return Sample(
        doc=row["doc"],
        split=row["split"],
        text=row["text"][start : start + characters],
        text_start=start,
        match=match,
        text_bytes=row["text_bytes"],
        messages=None if messages is None else [ChatMessage(**_cut(one._asdict(), characters)) for one in messages],
        columns=_cut({key: value for key, value in row.items() if key not in OWN_COLUMNS}, characters),
    )


def _cut(values: dict[str, Any], characters: int) -> dict[str, Any]:
    return {key: value[:characters] if isinstance(value, str) else value for key, value in values.items()}
