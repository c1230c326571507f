"""Labels of the features of an SAE: filtered, sorted and paged; all labels of one feature."""

from __future__ import annotations

from functools import reduce
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import Query, Response
from pydantic import Field

from sae.formats.labels import LabelsReader
from serve_app import artifact_requests
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import not_found
from serve_app.openapi.responses import problems
from serve_app.paging import Paged, decode, encode
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.common import HexId, Latent
from serve_app.schemas.labels import Evidence, FeatureLabel, FeatureType, Fuzzing, LabelledFeature, LabelledFeaturePage

router = artifact_routes("labels")


class LabelQuery(Paged):
    """Query parameters of the list of labelled features."""

    sort: Literal[
        "latent",
        "label",
        "label_score",
        "difference",
        "difference_low",
        "auc",
        "auc_difference",
        "auc_difference_low",
        "detection",
        "fuzzing",
        "input_score",
        "output_score",
        "ablation",
        "ablation_difference",
        "promotion",
        "promotion_difference",
    ] = Field("latent", description="Column to sort by; features without a value come last.")
    order: Literal["asc", "desc"] = Field("asc", description="`asc`: the smallest first; `desc`: the largest first.")
    type: FeatureType | None = Field(None, description="Only features of this type.")
    beats: bool | None = Field(
        None, description="true: only features whose label beats its permuted one; false: only the others."
    )
    min_label_score: float | None = Field(None, ge=0, le=1, description="Smallest score.")
    label: str | None = Field(
        None, min_length=1, max_length=50, description="Only features with this text in their best label."
    )


@router.get(
    "/{id}/latents", summary="List labelled features", responses=problems(404), response_model=LabelledFeaturePage
)
def list_labelled_latents(api: ApiDep, id: HexId, query: Annotated[LabelQuery, Query()]) -> Response:
    """Every feature with its type and best label; ties by latent. Get the next page with `cursor` and the same parameters."""
    table = _select(_reader(api, id).features(), query)
    start = max(0, decode(query.cursor, int)[0]) if query.cursor else 0
    rows = table.slice(start, query.limit).to_pylist()
    items = [LabelledFeature(latent=row.pop("feature"), **row) for row in rows]
    after = start + len(items)
    more = encode(after) if after < table.num_rows and items else None
    return artifact_requests.json_response(LabelledFeaturePage(items=items, next=more, total=table.num_rows))


@router.get("/{id}/latents/{latent}", summary="Get the labels of a feature", responses=problems(404))
def list_latent_labels(api: ApiDep, id: HexId, latent: Latent) -> list[FeatureLabel]:
    """The labels of each method that found one, the best first, each with its scores beside those of a permuted label."""
    reader = _reader(api, id)
    if latent >= reader.info.n_features:
        raise not_found(f"latent {latent} in labels/{id}: they are 0 to {reader.info.n_features - 1}")
    fuzzing = reader.fuzzing(latent)
    return [_label(row, fuzzing if row["method"] == "endpoint" else None) for row in reader.labels(latent)]


def _reader(api: Api, id: str) -> LabelsReader:
    return LabelsReader(artifact_requests.files_of(api, "labels", id))


def _select(table: pa.Table, query: LabelQuery) -> pa.Table:
    masks = []
    if query.type is not None:
        masks.append(pc.equal(table["type"], query.type))
    if query.beats is not None:
        masks.append(pc.equal(pc.fill_null(table["beats"], False), query.beats))
    if query.min_label_score is not None:
        masks.append(pc.greater_equal(table["label_score"], query.min_label_score))
    if query.label is not None:
        masks.append(pc.match_substring(table["label"], query.label, ignore_case=True))
    if masks:
        table = table.filter(reduce(pc.and_kleene, masks))
    direction = "ascending" if query.order == "asc" else "descending"
    column = "feature" if query.sort == "latent" else query.sort
    keys = [(column, direction)] if column == "feature" else [(column, direction), ("feature", "ascending")]
    return table.sort_by(keys)


def _label(row: dict[str, Any], fuzzing: dict[str, Any] | None) -> FeatureLabel:
    places = zip(row.pop("evidence_rows"), row.pop("evidence_positions"), strict=True)
    own = {name: value for name, value in row.items() if name not in ("feature", "rank")}
    evidence = [Evidence(row=at, position=position) for at, position in places]
    return FeatureLabel(**own, evidence=evidence, fuzzing=None if fuzzing is None else Fuzzing.model_validate(fuzzing))
