"""SAEs, with metrics and training curves. An archive of one is a SAELens folder."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pyarrow.parquet as pq
from fastapi import Query, Response
from pydantic import BaseModel, Field

from configs.stages import STAGES
from serve_app import artifact_requests
from serve_app.dependencies import ApiDep, PrincipalDep
from serve_app.errors import not_found
from serve_app.idempotency import IdempotencyKey
from serve_app.job_requests import plan_training, submit_job
from serve_app.openapi.responses import ACCEPTED, problems
from serve_app.paging import StrictQuery, evenly_spaced
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.common import HexId
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
