"""How the features of an SAE relate to each other and to a query: active together, near by meaning, and on a plane."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from cluster.store import ArtifactFiles
from sae.formats.coactivation import COACTIVATION, read_partners
from sae.formats.feature_map import MAP, read_map
from sae.formats.labels import LabelsReader
from sae.formats.search_index import SEARCH
from sae.labels.search_index import nearest_features
from sae.text.word_vectors import word_vectors
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import not_found
from serve_app.openapi.responses import problems
from serve_app.paging import StrictQuery
from serve_app.schemas.common import HexId, Latent
from serve_app.schemas.feature_relations import (
    CoactiveFeature,
    CoactiveFeatures,
    FeatureMap,
    FoundFeature,
    SearchAnswer,
)
from serve_app.schemas.labels import FeatureType
from serve_app.search_tables import SEARCH_TABLES, SearchTable

router = APIRouter(prefix="/v1/labels/{id}", tags=["labels"])


class FeatureFilters(StrictQuery):
    """Query parameters that say which features are searched."""

    limit: int = Field(20, ge=1, le=500, description="Features, at most.")
    type: FeatureType | None = Field(None, description="Only features of this type.")
    beats: bool | None = Field(
        None, description="true: only features whose label beats its permuted one; false: only the others."
    )
    min_label_score: float | None = Field(None, ge=0, le=1, description="Smallest score of the best label.")
    min_density: float | None = Field(None, ge=0, le=1, description="Smallest density in the text of the labels.")
    max_density: float | None = Field(None, ge=0, le=1, description="Largest density in the text of the labels.")


class SearchQuery(FeatureFilters):
    """Query parameters of a search of features."""

    q: str = Field(
        min_length=1, max_length=500, description="What to look for, in words.", examples=["population growth"]
    )


@router.get("/search", summary="Search features by meaning", responses=problems(404), response_model=SearchAnswer)
def search_latents(api: ApiDep, id: HexId, query: Annotated[SearchQuery, Query()]) -> Response:
    """The features whose labels and strongest examples are nearest to the query by word vectors; ties by latent."""
    answer = find_features(SEARCH_TABLES.get(files_with(api, id, SEARCH)), query)
    return artifact_requests.json_response(answer)


def find_features(table: SearchTable, query: SearchQuery) -> SearchAnswer:
    """The answer to a query."""
    words = word_vectors()
    found = nearest_features(table.vectors, words.of([query.q])[0], allowed_features(table, query), query.limit)
    rows = table.labels.take(pa.array(found.features)).to_pylist()
    items = [
        FoundFeature(latent=row.pop("feature"), cosine=cosine, density=density, **row)
        for row, cosine, density in zip(
            rows, found.cosines.tolist(), table.density[found.features].tolist(), strict=True
        )
    ]
    return SearchAnswer(chance=table.chance(words.tokens(query.q)), items=items)


@router.get("/map", summary="Get the map of all features", responses=problems(404), response_model=FeatureMap)
def get_map(api: ApiDep, request: Request, id: HexId) -> Response:
    """Coordinates of every feature, computed once by UMAP from the decoder directions, with its type."""
    files = files_with(api, id, MAP)
    x, y = np.round(read_map(files).astype(np.float64), 3).T.tolist()
    kinds = LabelsReader(files).features()["type"].combine_chunks().dictionary_encode()
    return artifact_requests.json_with_etag(
        request, FeatureMap(x=x, y=y, types=kinds.dictionary.to_pylist(), type=kinds.indices.to_pylist())
    )


@router.get(
    "/latents/{latent}/coactivation",
    summary="Get the features that are active together with one",
    responses=problems(404),
    response_model=CoactiveFeatures,
)
def list_coactive(api: ApiDep, request: Request, id: HexId, latent: Latent) -> Response:
    """The other features with the highest NPMI, each with exact counts beside what independent features would have."""
    files = files_with(api, id, COACTIVATION)
    reader = LabelsReader(files)
    if latent >= reader.info.n_features:
        raise not_found(f"latent {latent} in labels/{id}: they are 0 to {reader.info.n_features - 1}")
    count, partners = read_partners(files, latent)
    positions = reader.info.coactivation_positions
    found = [
        CoactiveFeature(
            latent=one.feature,
            count=one.active,
            joint=one.joint,
            expected=count * one.active / positions,
            share=one.joint / count,
            share_of_other=one.joint / one.active,
            npmi=one.npmi,
        )
        for one in partners
    ]
    return artifact_requests.json_with_etag(
        request, CoactiveFeatures(latent=latent, positions=positions, count=count, coactive=found)
    )


def files_with(api: Api, id: str, name: str) -> ArtifactFiles:
    """The files of a labels artifact that has this one. Raises ApiError (404): earlier versions made fewer files."""
    files = artifact_requests.files_of(api, "labels", id)
    if name not in files.names:
        raise not_found(
            f"{name} in labels/{id}: an earlier version of the label stage made it; label the features again"
        )
    return files


def allowed_features(table: SearchTable, query: FeatureFilters) -> npt.NDArray[np.bool_]:
    """Which features meet the filters, bool [features]."""
    labels, allowed = table.labels, table.searched.copy()
    if query.type is not None:
        allowed &= _mask(pc.equal(labels["type"], query.type))
    if query.beats is not None:
        allowed &= _mask(pc.equal(pc.fill_null(labels["beats"], False), query.beats))
    if query.min_label_score is not None:
        allowed &= _mask(pc.fill_null(pc.greater_equal(labels["label_score"], query.min_label_score), False))
    if query.min_density is not None:
        allowed &= table.density >= query.min_density
    if query.max_density is not None:
        allowed &= table.density <= query.max_density
    return allowed


def _mask(values: Any) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = values.to_numpy()
    return found
