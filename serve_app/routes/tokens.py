"""Tokens: rows, and their statistics."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serve_app import artifact_requests
from serve_app.dependencies import Api
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.artifacts import Artifact


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
