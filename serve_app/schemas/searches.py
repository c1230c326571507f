"""Pages of documents and of rows of tokens: their query parameters, and what they answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from serve_app.paging import INT64, Paged
from serve_app.schemas.common import Page

PAGE_S = 0.7  # so that a page comes within a second

Contains = Annotated[str, Field(min_length=1, max_length=1000)]
Number = Annotated[int, Field(ge=0, le=INT64)]


class SearchQuery(Paged):
    """Query parameters of pages that are searched."""

    limit: Annotated[int, Field(ge=1, le=100, description="Largest number of items.")] = 20
    split: Literal["train", "validation", "test"] | None = Field(None, description="Only this split.")
    contains: Contains | None = Field(None, description="Only those whose text has this substring.")
    regex: Contains | None = Field(
        None,
        description="Only those whose text matches this regular expression (RE2's syntax: no backreferences, no "
        "lookaround, so that its time is linear in the text). Not together with `contains`.",
    )
    ignore_case: bool = Field(False, description="Let letters of `contains` or `regex` match in either case.")
    seconds: float = Field(
        PAGE_S,
        gt=0,
        le=30,
        description="End the page after about so long, with what was found by then: `looked_at` says how far it came, and "
        "`next` goes on from there.",
    )


class SearchPage(BaseModel):
    """How much a page looked at."""

    looked_at: int = Field(description="Items looked at for this page: from where it began to where `next` goes on.")
    total: int = Field(description="Items in all, of every split.")


class SampleQuery(SearchQuery):
    """Query parameters of the documents of a dataset."""

    where: list[Contains] = Field(
        [],
        max_length=20,
        description="Only documents with this value of a column: `COLUMN=VALUE`. May be repeated; all must hold.",
        examples=[["section=Geography"]],
    )
    characters: int = Field(2000, ge=1, le=100_000, description="Largest number of characters of each text.")


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
    text: str = Field(description="Its text from `text_start` on, up to `characters` characters.")
    text_start: int = Field(
        description="The character of the text that `text` begins with: 0, unless the first match lies far behind."
    )
    match: int | None = Field(description="The character at which the first match begins; null without a search.")
    text_bytes: int = Field(description="Bytes of the whole text in UTF-8.")
    messages: list[ChatMessage] | None = Field(
        description="The messages if the document is a chat; `text` is then the chat written plainly."
    )
    columns: dict[str, Any] = Field(description="Other columns of the source; texts up to `characters` characters.")


class SamplePage(Page[Sample], SearchPage):
    """One page of documents."""


class TokenRowQuery(SearchQuery):
    """Query parameters of rows of tokens. The text of a row is that of all its tokens but padding."""

    token: Number | None = Field(None, description="Only rows with this token id, padding left out.")
    doc: Number | None = Field(None, description="Only rows with a part of this document.")


class DocumentPart(BaseModel):
    """A part of a document in a row."""

    doc: int = Field(description="Number of the document in the dataset.")
    start: int = Field(description="Position of its first token in the row.")
    stop: int = Field(description="Position after its last token, its separator included.")
    offset: int = Field(description="Which token of the document the first one is.")


class TokenRow(BaseModel):
    """One row of tokens. `ids`, `texts`, `roles` and `speakers` have an entry for each position."""

    split: str = Field(description="train, validation or test.", examples=["train"])
    row: int = Field(description="Its number in the split, in the order of training.")
    ids: list[int] = Field(description="Token ids.")
    texts: list[str] = Field(description="What each token stands for.")
    roles: list[str] = Field(description="data, bos, special, separator, pad, boundary or repeated.")
    speakers: list[str] = Field(
        description="Of a chat: system, user, assistant, tool, thinking or template; else none.", examples=[["user"]]
    )
    documents: list[DocumentPart] = Field(description="The documents of the row, in order.")


class TokenRowPage(Page[TokenRow], SearchPage):
    """One page of rows. They are numbered over train, validation and test."""
