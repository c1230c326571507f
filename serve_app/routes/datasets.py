"""Datasets: documents from the hub, a package, an upload or one of the server's data folders."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from sae.formats.dataset import DatasetReader
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.openapi.responses import problems
from serve_app.paging import Paged, decode, encode
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.artifacts import Artifact
from serve_app.schemas.common import HexId, Page
from serve_app.schemas.requests import DatasetRequest


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
_OWN = ("doc", "split", "text", "text_bytes")


class Sample(BaseModel):
    """One document."""

    doc: int = Field(description="Its number in the dataset, from 0.")
    split: str = Field(description="train, validation or test.", examples=["train"])
    text: str = Field(description="Its text, up to `characters` characters.")
    text_bytes: int = Field(description="Bytes of the whole text in UTF-8.")
    columns: dict[str, Any] = Field(description="Other columns of the source; texts up to `characters` characters.")


class SampleQuery(Paged):
    """Query parameters of the documents of a dataset."""

    limit: Annotated[int, Field(ge=1, le=100, description="Largest number of documents.")] = 20
    characters: int = Field(2000, ge=1, le=100_000, description="Largest number of characters of each text.")


@router.get("/{id}/samples", summary="Read documents of a dataset", responses=problems(404))
def list_samples(api: ApiDep, id: HexId, query: Annotated[SampleQuery, Query()]) -> Page[Sample]:
    """Documents in their order."""
    reader = DatasetReader(artifact_requests.files_of(api, "datasets", id))
    start = decode(query.cursor, int)[0] if query.cursor else 0
    found: list[Sample] = []
    first = 0
    for name, rows in reader.info.files.items():
        if start + len(found) < first + rows and len(found) < query.limit:
            begin = max(0, start + len(found) - first)
            taken = reader.read(name, begin, min(rows, begin + query.limit - len(found)))
            found += [_sample(row, query.characters) for row in taken.to_pylist()]
        first += rows
    after = start + len(found)
    return Page(items=found, next=encode(after) if found and after < reader.info.documents else None)


def _sample(row: dict[str, Any], characters: int) -> Sample:
    own = {key: value for key, value in row.items() if key not in _OWN}
    columns = {key: value[:characters] if isinstance(value, str) else value for key, value in own.items()}
    return Sample(
        doc=row["doc"], split=row["split"], text=row["text"][:characters], text_bytes=row["text_bytes"], columns=columns
    )
