"""People's named lists of features: make, rename and delete them, put features on them and take them off."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from cluster.catalog.feature_lists import FeatureAndNotes, ListAndSize
from configs.artifact_ids import ArtifactRef, parse_ref
from serve_app.dependencies import Api, ApiDep, PrincipalDep
from serve_app.errors import ApiError
from serve_app.openapi.responses import problems
from serve_app.paging import Paged, decode, encode
from serve_app.schemas.common import HexId, Latent, Page
from serve_app.schemas.feature_lists import FeatureList, FeatureListRequest, ListedFeature, ListedFeaturesRequest

router = APIRouter(prefix="/v1/lists", tags=["lists"])
ListId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="Id of the list: 16 hexadecimal digits.")]
SaeId = Annotated[HexId, Path(description="Id of the SAE.")]


class ListQuery(Paged):
    """Query parameters of the lists."""

    sae: str | None = Field(
        None, pattern=r"^saes/[0-9a-f]{16}$", description="With `latent`: only lists that this feature is on."
    )
    latent: Latent | None = Field(None, description="The latent of `sae`.")


@router.get("", summary="List the lists of features")
def list_feature_lists(api: ApiDep, query: Annotated[ListQuery, Query()]) -> Page[FeatureList]:
    """By name. Get the next page with `cursor` and the same parameters."""
    if (query.sae is None) != (query.latent is None):
        raise ApiError(422, "invalid_request", "give both `sae` and `latent`, which name a feature, or neither")
    feature = (parse_ref(query.sae), query.latent) if query.sae is not None and query.latent is not None else None
    after = str(decode(query.cursor, str)[0]) if query.cursor else ""
    found = api.catalog.feature_lists(feature, after, query.limit + 1)
    shown = found[: query.limit]
    following = encode(shown[-1].row.name) if len(found) > query.limit else None
    return Page[FeatureList](items=[_list(one) for one in shown], next=following)


@router.post("", status_code=201, summary="Make a list of features", responses=problems(409))
def create_feature_list(api: ApiDep, principal: PrincipalDep, body: FeatureListRequest) -> FeatureList:
    """It is empty at first."""
    return _list(api.catalog.create_list(body.name, f"api:{principal.name}"))


@router.get("/{id}", summary="Get a list of features", responses=problems(404))
def get_feature_list(api: ApiDep, id: ListId) -> FeatureList:
    """Its name, and how many features are on it."""
    return _list(api.catalog.feature_list(id))


@router.patch("/{id}", summary="Rename a list of features", responses=problems(404, 409))
def rename_feature_list(api: ApiDep, id: ListId, body: FeatureListRequest) -> FeatureList:
    """Its id stays."""
    return _list(api.catalog.rename_list(id, body.name))


@router.delete("/{id}", status_code=204, summary="Delete a list of features", responses=problems(404))
def delete_feature_list(api: ApiDep, id: ListId) -> None:
    """The features keep their stars, labels and notes."""
    api.catalog.delete_list(id)


@router.get("/{id}/features", summary="List the features of a list", responses=problems(404))
def list_listed_features(api: ApiDep, id: ListId, query: Annotated[Paged, Query()]) -> Page[ListedFeature]:
    """By SAE and latent. Get the next page with `cursor`."""
    sae, latent = decode(query.cursor, str, int) if query.cursor else ("", -1)
    found = api.catalog.listed_features(id, (sae, latent), query.limit + 1)
    shown = found[: query.limit]
    newest = {sae: _newest_features(api, sae) for sae in {one.row.sae for one in shown}}
    following = encode(shown[-1].row.sae, shown[-1].row.latent) if len(found) > query.limit else None
    return Page[ListedFeature](items=[_feature(one, newest[one.row.sae]) for one in shown], next=following)


@router.post(
    "/{id}/features",
    summary="Put features on a list",
    responses=problems(404, s422="An SAE has no such latent, or the list would get too long."),
)
def add_listed_features(api: ApiDep, principal: PrincipalDep, id: ListId, body: ListedFeaturesRequest) -> FeatureList:
    """All or none. A feature that is on the list already stays as it is."""
    features = [(parse_ref(one.sae), one.latent) for one in body.features]
    return _list(api.catalog.add_to_list(id, features, f"api:{principal.name}"))


@router.delete(
    "/{id}/features/{sae_id}/{latent}", status_code=204, summary="Take a feature off a list", responses=problems(404)
)
def remove_listed_feature(api: ApiDep, id: ListId, sae_id: SaeId, latent: Latent) -> None:
    """A repeated request has no further effect."""
    api.catalog.remove_from_list(id, ArtifactRef("saes", sae_id), latent)


def _list(found: ListAndSize) -> FeatureList:
    row = found.row
    return FeatureList(
        id=row.id,
        name=row.name,
        features=found.features,
        created_by=row.created_by,
        created_at=datetime.fromtimestamp(row.created_at, UTC),
    )


def _feature(found: FeatureAndNotes, features: str | None) -> ListedFeature:
    row, notes = found
    return ListedFeature(
        sae=row.sae,
        latent=row.latent,
        features=features,
        starred=notes is not None and notes.starred,
        label="" if notes is None else notes.label,
        added_by=row.added_by,
        added_at=datetime.fromtimestamp(row.added_at, UTC),
    )


def _newest_features(api: Api, sae: str) -> str | None:
    rows = api.catalog.artifacts("features", 1, filters={"sae": sae})
    return str(ArtifactRef(rows[0].kind, rows[0].id)) if rows else None
