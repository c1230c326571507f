"""The artifacts of all kinds in one list."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from configs.artifact_ids import ArtifactRef
from configs.stages import ArtifactKind
from serve_app.artifact_requests import ArtifactQuery, json_response, list_all, row_of
from serve_app.dependencies import ApiDep
from serve_app.openapi.responses import problems
from serve_app.schemas.artifacts import ArtifactItem
from serve_app.schemas.common import HexId, Page

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])


@router.get("", summary="List the artifacts of all kinds", response_model=Page[ArtifactItem])
def list_artifacts(api: ApiDep, query: Annotated[ArtifactQuery, Query()]) -> Response:
    """The newest first. Get the next page with `cursor` and the same parameters."""
    return json_response(list_all(api, query))


class Referrers(BaseModel):
    """What needs an artifact: while there is any, it cannot be deleted."""

    artifacts: list[str] = Field(
        description="References of the artifacts that were made from it.", examples=[["features/67d5273bd9611bd1"]]
    )
    jobs: list[str] = Field(description="Ids of the pending and running jobs that need it or make it.")


@router.get("/{kind}/{id}/referrers", summary="List what needs an artifact", responses=problems(404))
def list_referrers(api: ApiDep, kind: Annotated[ArtifactKind, Path(description="Its kind.")], id: HexId) -> Referrers:
    """What was made from it, and the jobs that need it now. Deleting it is refused (409) while there is any."""
    row_of(api, kind, id)
    found = api.catalog.referrers(ArtifactRef(kind, id))
    return Referrers(
        artifacts=[one for one in found if "/" in one], jobs=[one.split()[-1] for one in found if "/" not in one]
    )
