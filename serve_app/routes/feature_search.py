"""Search of the features of several SAEs at once, by meaning and by the words of their labels."""

from __future__ import annotations

from threading import Lock
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache, cached
from fastapi import APIRouter, Query, Response
from pydantic import Field, model_validator

from configs.artifact_ids import ArtifactRef
from sae.formats.search_index import SEARCH
from sae.labels.search_index import nearest_features, shared_chance
from sae.text.word_vectors import Float32, word_vectors
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.openapi.responses import problems
from serve_app.routes.feature_relations import FeatureFilters, allowed_features, files_with
from serve_app.schemas.common import HexId
from serve_app.schemas.feature_relations import FeatureOfSae, FeatureSearchAnswer, SearchedSae
from serve_app.search_tables import SEARCH_TABLES, SearchTable

router = APIRouter(prefix="/v1/search", tags=["labels"])
MOST_SAES = 32  # of one search
_LISTED = 1000  # newest labels that are looked through


class FeatureSearchQuery(FeatureFilters):
    """Query parameters of a search of several SAEs."""

    q: str | None = Field(
        None, min_length=1, max_length=500, description="What to look for, in words.", examples=["population growth"]
    )
    label: str | None = Field(
        None, min_length=1, max_length=50, description="Only features with this text in their best label."
    )
    labels: list[HexId] | None = Field(
        None, max_length=MOST_SAES, description="IDs of labels to search; all SAEs' newest labels if not given."
    )
    model: HexId | None = Field(None, description="Only SAEs of this model: the ID of `models/ID`.")
    sae: list[HexId] | None = Field(None, max_length=MOST_SAES, description="Only these SAEs.")
    hook: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        None, max_length=MOST_SAES, description="Only SAEs at these hooks."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.q is None and self.label is None:
            raise ValueError("give `q`, `label` or both")
        return self


class _Searched(NamedTuple):
    """An SAE and what is searched of it."""

    sae: SearchedSae
    table: SearchTable


class _Hit(NamedTuple):
    """A feature of the SAE `number` of the searched ones. Hits sort as they are answered."""

    order: float
    number: int
    latent: int


@router.get(
    "/features",
    summary="Search the features of several SAEs",
    responses=problems(404),
    response_model=FeatureSearchAnswer,
)
def search_features(api: ApiDep, query: Annotated[FeatureSearchQuery, Query()]) -> Response:
    """The features nearest to `q`, or with `label` in their label, of all SAEs that are asked for, in one order.

    It is the order of a search of each of them, merged: ties by SAE and latent.
    """
    saes = _saes(api, query)
    chosen = [
        one
        for one in saes
        if (query.sae is None or one.sae.removeprefix("saes/") in query.sae)
        and (query.hook is None or one.hook in query.hook)
    ]
    searched = [found for one in chosen[:MOST_SAES] if (found := _opened(api, one, query.labels is not None))]
    hits = [hit for number in range(len(searched)) for hit in _hits(searched, number, query)]
    items = [_item(searched[hit.number], hit, query) for hit in sorted(hits)[: query.limit]]
    answer = FeatureSearchAnswer(
        chance=_chance(searched, query.q), items=items, saes=saes, left_out=len(chosen) - len(searched)
    )
    return artifact_requests.json_response(answer)


def _saes(api: Api, query: FeatureSearchQuery) -> list[SearchedSae]:
    """What `labels` and `model` name, in order of the SAEs' references. Raises ApiError (404)."""
    if query.labels is not None:
        rows = [artifact_requests.row_of(api, "labels", id) for id in dict.fromkeys(query.labels)]
    else:
        newest: dict[str, Any] = {}
        for row in api.catalog.artifacts("labels", _LISTED):
            newest.setdefault(str(row.summary["sae"]), row)
        rows = list(newest.values())
    found = []
    for row in rows:
        ref = str(row.summary["sae"])
        sae = api.catalog.artifact(ArtifactRef("saes", ref.removeprefix("saes/")))
        if query.model is not None and (sae is None or sae.inputs.get("model") != f"models/{query.model}"):
            continue
        hook = None if sae is None else _hook(sae.fields.get("hook"))
        found.append(SearchedSae(sae=ref, hook=hook, labels=f"labels/{row.id}", features=str(row.summary["features"])))
    return sorted(found, key=lambda one: (one.sae, one.labels))


def _hook(value: Any) -> str | None:
    """A crosscoder has several, in one text."""
    return ", ".join(value) if isinstance(value, list) else value


def _opened(api: Api, one: SearchedSae, named: bool) -> _Searched | None:
    """None for labels of an earlier version, which cannot be searched, unless they are `named`: then ApiError (404)."""
    id = one.labels.removeprefix("labels/")
    if not named and SEARCH not in artifact_requests.files_of(api, "labels", id).names:
        return None
    return _Searched(one, SEARCH_TABLES.get(files_with(api, id, SEARCH)))


def _hits(searched: list[_Searched], number: int, query: FeatureSearchQuery) -> list[_Hit]:
    """The first features of one SAE: any that is among the first of all is among them."""
    table = searched[number].table
    allowed = allowed_features(table, query)
    if query.label is not None:
        with_text = pc.match_substring(table.labels["label"], query.label, ignore_case=True)
        allowed &= pc.fill_null(with_text, False).to_numpy()
    if query.q is None:
        return _by_score(table, allowed, number, query.limit)
    found = nearest_features(table.vectors, _vector(query.q), allowed, query.limit)
    return [
        _Hit(-cosine, number, latent)
        for latent, cosine in zip(found.features.tolist(), found.cosines.tolist(), strict=True)
    ]


def _by_score(table: SearchTable, allowed: npt.NDArray[np.bool_], number: int, most: int) -> list[_Hit]:
    scores = pc.fill_null(table.labels["label_score"], 0.0).to_numpy()
    rows = np.flatnonzero(allowed)
    rows = rows[np.lexsort((rows, -scores[rows]))][:most]
    return [_Hit(-float(scores[row]), number, int(row)) for row in rows]


def _item(one: _Searched, hit: _Hit, query: FeatureSearchQuery) -> FeatureOfSae:
    row = one.table.labels.take(pa.array([hit.latent])).to_pylist()[0]
    latent = row.pop("feature")
    cosine = None if query.q is None else -hit.order
    return FeatureOfSae(
        latent=latent, cosine=cosine, density=float(one.table.density[hit.latent]), **row, **one.sae.model_dump()
    )


def _chance(searched: list[_Searched], q: str | None) -> float | None:
    if q is None or not searched:
        return None
    words = word_vectors()
    tokens = words.tokens(q)
    if len(searched) == 1:
        return searched[0].table.chance(tokens)
    return _shared_chance(tuple(one.sae.labels for one in searched), tokens, [one.table.vectors for one in searched])


@cached(LRUCache(1024), key=lambda labels, tokens, vectors: (labels, tokens), lock=Lock())
def _shared_chance(labels: tuple[str, ...], tokens: int, vectors: list[Float32]) -> float:
    return shared_chance(vectors, word_vectors(), tokens)


def _vector(q: str) -> Float32:
    vector: Float32 = word_vectors().of([q])[0]
    return vector
