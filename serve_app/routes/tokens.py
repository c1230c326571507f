"""Tokens: rows, and their statistics."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import Field

from configs.artifact_ids import parse_ref
from sae.text.row_search import RowQuery, find_rows
from sae.text.text_search import text_search
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.openapi.responses import problems
from serve_app.paging import decode, encode
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.artifacts import Artifact
from serve_app.schemas.common import HexId
from serve_app.schemas.searches import TokenRow, TokenRowPage, TokenRowQuery


class TokensArtifact(Artifact):
    """Tokens with their options and statistics."""

    add_special_tokens: bool = Field(description="Whether special tokens were put into the rows: BOS or a separator.")
    return_attention_mask: bool = Field(description="Whether the rows have an `attention_mask` column.")
    statistics: dict[str, Any] = Field(
        description="Tokens, documents, lengths before packing and their histogram, roles, the tokens that occur (share of "
        "the vocabulary, coverage curve, the most frequent), the share of each split and which are missing, and for each "
        "split its rows, tokens and documents."
    )


def _read(api: Api, id: str) -> TokensArtifact:
    config = artifact_requests.files_of(api, "tokens", id).manifest.config
    return artifact_requests.artifact_detail(
        api,
        TokensArtifact,
        "tokens",
        id,
        add_special_tokens=(config["bos"], config["separator"]) != ("never", "none"),
        return_attention_mask=config["return_attention_mask"],
        statistics=artifact_requests.row_of(api, "tokens", id).summary,
    )


router = artifact_routes("tokens", None, TokensArtifact, _read)


@router.get("/{id}/rows", summary="Read rows of tokens", responses=problems(404), response_model=TokenRowPage)
def list_token_rows(api: ApiDep, id: HexId, query: Annotated[TokenRowQuery, Query()]) -> Response:
    """Rows in the order of training, searched and filtered, with the role of each token and the borders of documents.

    Get the next page with `cursor` and the same parameters. A page of a search ends after `limit` rows or about `seconds`,
    and says how many rows it looked at.
    """
    files = artifact_requests.files_of(api, "tokens", id)
    model = parse_ref(files.manifest.inputs["model"]).id
    search = text_search(query.contains, query.regex, query.ignore_case)
    wanted = RowQuery(query.split, query.token, query.doc, search)
    start = max(0, decode(query.cursor, int)[0]) if query.cursor else 0
    found = find_rows(files, wanted, api.model_summaries.row_texts(model), start, query.limit, query.seconds)
    pieces = api.model_summaries.pieces(model)
    page = TokenRowPage(
        items=[TokenRow(**row, texts=pieces.strings(row["ids"])) for row in found.items],
        next=None if found.next is None else encode(found.next),
        looked_at=found.looked_at,
        total=found.total,
    )
    return artifact_requests.json_response(page)
