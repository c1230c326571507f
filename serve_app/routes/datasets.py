"""Datasets: documents from the hub, a package, an upload or one of the server's data folders."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from sae.formats.dataset import OWN_COLUMNS, DatasetReader, read_messages
from serve_app import artifact_requests
from serve_app.dependencies import ApiDep
from serve_app.openapi.responses import problems
from serve_app.paging import Paged, decode, encode
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.common import HexId, Page
from serve_app.schemas.requests import DatasetRequest

router = artifact_routes("datasets", DatasetRequest)


class ChatMessage(BaseModel):
    """One message of a chat; its texts up to `characters` characters."""

    role: str = Field(description="system, user, assistant or tool.", examples=["user"])
    content: str = Field(description="What is said.")
    thinking: str | None = Field(description="What the assistant thinks before it answers.")
    tool_calls: str | None = Field(description="Calls of tools by the assistant, as JSON.")
    tool_call_id: str | None = Field(description="The call that a tool answers.")
    name: str | None = Field(description="Name of who speaks, or of the tool.")


class Sample(BaseModel):
    """One document."""

    doc: int = Field(description="Its number in the dataset, from 0.")
    split: str = Field(description="train, validation or test.", examples=["train"])
    text: str = Field(description="Its text, up to `characters` characters.")
    text_bytes: int = Field(description="Bytes of the whole text in UTF-8.")
    messages: list[ChatMessage] | None = Field(
        description="The messages if the document is a chat; `text` is then the chat written plainly."
    )
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
    messages = read_messages(row)
    return Sample(
        doc=row["doc"],
        split=row["split"],
        text=row["text"][:characters],
        text_bytes=row["text_bytes"],
        messages=None if messages is None else [ChatMessage(**_cut(one._asdict(), characters)) for one in messages],
        columns=_cut({key: value for key, value in row.items() if key not in OWN_COLUMNS}, characters),
    )


def _cut(values: dict[str, Any], characters: int) -> dict[str, Any]:
    return {key: value[:characters] if isinstance(value, str) else value for key, value in values.items()}
