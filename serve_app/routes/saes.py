"""SAEs, with metrics and training curves. An archive of one is a SAELens folder."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pyarrow.parquet as pq
from fastapi import Query, Response
from pydantic import BaseModel, Field

from configs.stages import STAGES
from sae.features.similar import decoder_directions, similar
from serve_app import artifact_requests
from serve_app.dependencies import ApiDep, PrincipalDep
from serve_app.errors import not_found
from serve_app.idempotency import IdempotencyKey
from serve_app.job_requests import plan_training, submit_job
from serve_app.openapi.responses import ACCEPTED, problems
from serve_app.paging import StrictQuery, evenly_spaced
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.common import HexId, Latent, artifact_ref
from serve_app.schemas.features import Neighbour
from serve_app.schemas.jobs import Accepted
from serve_app.schemas.plans import TrainingPlan
from serve_app.schemas.requests import stage_request

router = artifact_routes("saes")
METRICS, CURVES = "metrics.json", "curves.parquet"
IMPORT_REQUEST, TRAIN_REQUEST = stage_request(STAGES["import"]), stage_request(STAGES["train"])


@router.post(
    "/import",
    status_code=202,
    summary="Import an SAE of another library",
    operation_id="import_sae",
    responses=ACCEPTED,
)
def import_sae(
    api: ApiDep,
    principal: PrincipalDep,
    body: IMPORT_REQUEST,  # type: ignore[valid-type]
    response: Response,
    key: IdempotencyKey = None,
) -> Accepted:
    """Its files come from the hub, a package, an upload or one of the server's data folders. Runs the stage `import`."""
    return submit_job(api, principal, key, body, response)


class Curves(BaseModel):
    """Training curves: columns of equal length, one of them `step`."""

    steps: int = Field(description="Steps of the training.")
    columns: dict[str, list[float | None]] = Field(
        description="One value for each step.", examples=[{"step": [0, 1], "loss": [1.9, 1.4]}]
    )


class CurveQuery(StrictQuery):
    """Query parameters of curves."""

    points: int = Field(500, ge=2, le=10_000, description="Largest number of steps, evenly spaced, including the last.")


@router.post("/plan", summary="Plan the training of SAEs", operation_id="plan_sae")
def plan_sae(api: ApiDep, body: TRAIN_REQUEST) -> TrainingPlan:  # type: ignore[valid-type]
    """What the same request to `POST /v1/saes` would read and take, and what looks wrong with it. Nothing is run or recorded."""
    return TrainingPlan.model_validate(plan_training(api, body))


@router.get("/{id}/metrics", summary="Get the metrics of an SAE", responses=problems(404))
def get_metrics(api: ApiDep, id: HexId) -> dict[str, Any]:
    """Metrics at the end of its training. Evaluate it for metrics on held-out documents."""
    files = artifact_requests.files_of(api, "saes", id)
    if METRICS not in files.names:
        raise not_found(f"metrics of saes/{id}")
    found: dict[str, Any] = json.loads(files.path(METRICS).read_text(encoding="utf-8"))
    return found


@router.get("/{id}/curves", summary="Get the training curves of an SAE", responses=problems(404))
def get_curves(api: ApiDep, id: HexId, query: Annotated[CurveQuery, Query()]) -> Curves:
    """Loss, sparsity and other values of training steps."""
    files = artifact_requests.files_of(api, "saes", id)
    if CURVES not in files.names:
        raise not_found(f"curves of saes/{id}")
    table = pq.read_table(files.path(CURVES))
    n = table.num_rows
    taken = table.take(evenly_spaced(n, query.points))
    return Curves(steps=n, columns={name: taken.column(name).to_pylist() for name in taken.column_names})


class SimilarQuery(StrictQuery):
    """Query parameters of similar features."""

    sae: artifact_ref("saes") = Field(description="The other SAE, or the same one.")  # type: ignore[valid-type]
    limit: int = Field(10, ge=1, le=100, description="Features, at most.")


class SimilarFeatures(BaseModel):
    """Features of another SAE, by the cosine of the decoder directions."""

    sae: str = Field(description="The other SAE.")
    hook: str = Field(description="The hook whose activations its directions are in.")
    chance: float = Field(
        description="The control: 95% of random directions have no feature of that SAE as near as this cosine."
    )
    features: list[Neighbour] = Field(description="The features, the largest cosine first.")


@router.get("/{id}/latents/{latent}/similar", summary="Find similar features of another SAE", responses=problems(404))
def list_similar(api: ApiDep, id: HexId, latent: Latent, query: Annotated[SimilarQuery, Query()]) -> SimilarFeatures:
    """Of other seeds, architectures or layers; the directions must have as many dimensions. A cosine says something only where
    both hooks are in one space, as the residual stream of one model is.
    """
    own = artifact_requests.files_of(api, "saes", id)
    other = artifact_requests.files_of(api, "saes", query.sae.removeprefix("saes/"))
    mine = decoder_directions(own.directory())
    if latent >= len(mine):
        raise not_found(f"latent {latent} in saes/{id}: they are 0 to {len(mine) - 1}")
    found = similar(mine[latent], decoder_directions(other.directory()), query.limit)
    metadata = json.loads(other.path("cfg.json").read_text(encoding="utf-8"))["metadata"]
    return SimilarFeatures(
        sae=query.sae,
        hook=str(metadata.get("hook_name_out") or metadata["hook_name"]),
        chance=found.chance,
        features=[
            Neighbour(latent=one, cosine=cosine) for one, cosine in zip(found.latents, found.cosines, strict=True)
        ],
    )
