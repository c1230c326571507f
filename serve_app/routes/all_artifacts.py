"""The artifacts of all kinds in one list."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from serve_app.artifact_requests import ArtifactQuery, json_response, list_page
from serve_app.dependencies import ApiDep
from serve_app.schemas.artifacts import ArtifactItem
from serve_app.schemas.common import Page

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])


@router.get("", summary="List the artifacts of all kinds", response_model=Page[ArtifactItem])
def list_artifacts(api: ApiDep, query: Annotated[ArtifactQuery, Query()]) -> Response:
    """The newest first. Get the next page with `cursor` and the same parameters."""
    return json_response(list_page(api, None, query))
