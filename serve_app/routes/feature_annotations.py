"""Stars, labels and notes on the latents of an SAE. Each change records who made it and when."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from configs.artifact_ids import ArtifactRef
from serve_app.artifact_requests import row_of
from serve_app.dependencies import Api, ApiDep, PrincipalDep
from serve_app.errors import not_found
from serve_app.openapi.responses import problems
from serve_app.paging import Paged, decode, encode
from serve_app.schemas.annotations import Annotation, AnnotationUpdate, AnnotationVersion
from serve_app.schemas.common import HexId, Latent, Page
from serve_app.security.tokens import Principal

router = APIRouter(prefix="/v1/saes/{id}/latents", tags=["saes"])
_PROBLEMS = problems(404, s422="The SAE has no such latent, or a text is too long.")


class AnnotationQuery(Paged):
    """Query parameters of the list of annotations."""

    starred: bool | None = Field(None, description="true: only starred latents; false: only those without a star.")


@router.get("", summary="List the annotated latents of an SAE", responses=problems(404))
def list_annotations(api: ApiDep, id: HexId, query: Annotated[AnnotationQuery, Query()]) -> Page[Annotation]:
    """Latents with a star, a label or notes, in their order. Get the next page with `cursor`."""
    row_of(api, "saes", id)
    after = decode(query.cursor, int)[0] if query.cursor else -1
    rows = api.catalog.feature_annotations(ArtifactRef("saes", id), query.starred, after, query.limit + 1)
    shown = rows[: query.limit]
    items = [Annotation.model_validate(row) for row in shown]
    return Page[Annotation](items=items, next=encode(shown[-1].latent) if len(rows) > query.limit else None)


@router.get("/{latent}", summary="Get the annotation of a latent", responses=problems(404))
def get_annotation(api: ApiDep, id: HexId, latent: Latent) -> Annotation:
    """Its star, label and notes. 404 if nobody has annotated it."""
    row_of(api, "saes", id)
    for row in api.catalog.feature_annotations(ArtifactRef("saes", id), None, latent - 1, 1):
        if row.latent == latent:
            return Annotation.model_validate(row)
    raise not_found(f"annotation of latent {latent} of saes/{id}")


@router.get("/{latent}/history", summary="List what a latent's label and notes were", responses=problems(404))
def list_annotation_versions(api: ApiDep, id: HexId, latent: Latent) -> list[AnnotationVersion]:
    """After each change, the newest first, 100 at most; none if nobody has written about it."""
    row_of(api, "saes", id)
    rows = api.catalog.annotation_versions(ArtifactRef("saes", id), latent)
    return [AnnotationVersion.model_validate(row) for row in rows]


@router.patch("/{latent}", summary="Label a latent or write notes on it", responses=_PROBLEMS)
def annotate_latent(
    api: ApiDep, principal: PrincipalDep, id: HexId, latent: Latent, body: AnnotationUpdate
) -> Annotation:
    """Labels and notes are for people: they change nothing else."""
    return _annotate(api, principal, id, latent, label=body.label, notes=body.notes)


@router.put("/{latent}/star", summary="Star a latent", responses=_PROBLEMS)
def star_latent(api: ApiDep, principal: PrincipalDep, id: HexId, latent: Latent) -> Annotation:
    """A repeated request has no further effect."""
    return _annotate(api, principal, id, latent, starred=True)


@router.delete("/{latent}/star", summary="Remove the star of a latent", responses=_PROBLEMS)
def unstar_latent(api: ApiDep, principal: PrincipalDep, id: HexId, latent: Latent) -> Annotation:
    """Its label and notes stay. A repeated request has no further effect."""
    return _annotate(api, principal, id, latent, starred=False)


def _annotate(
    api: Api, principal: Principal, id: str, latent: int, *,
    starred: bool | None = None, label: str | None = None, notes: str | None = None,
) -> Annotation:  # fmt: skip
    row = api.catalog.annotate_feature(
        ArtifactRef("saes", id), latent, f"api:{principal.name}", starred=starred, label=label, notes=notes
    )
    return Annotation.model_validate(row)
