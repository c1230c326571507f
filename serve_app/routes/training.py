"""Curves and checkpoints of a training job, while it trains and after."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq
from fastapi import APIRouter

from cluster.catalog import JobRow
from configs.artifact_ids import parse_ref
from configs.load import parse_config
from configs.train import TrainConfig
from jobs.life.driver_setup import curves_file
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import not_found
from serve_app.openapi.responses import problems
from serve_app.paging import evenly_spaced
from serve_app.schemas.common import JobId
from serve_app.schemas.training import RunCheckpoint, SaeCurves, Training

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
POINTS = 300


@router.get("/{id}/training", summary="Get the curves and checkpoints of a training job", responses=problems(404))
def get_training(api: ApiDep, id: JobId) -> Training:
    """Of every SAE of the run, as far as it is. 404 for a job of another stage."""
    job = api.catalog.job(id)
    if job.stage != "train":
        raise not_found(f"training of job {id}: its stage is {job.stage}")
    config = parse_config(job.stage, job.config, job.id)
    assert isinstance(config, TrainConfig), "its stage is train"
    live = _live_curves(api, id)
    saes = [_curves(api, ref, sae.label, live.get(ref)) for ref, sae in zip(job.outputs, config.saes, strict=True)]
    return Training(saes=saes, checkpoints=_checkpoints(api, job))


def _curves(api: Api, ref: str, label: str, live: dict[str, Any] | None) -> SaeCurves:
    manifest = api.store.manifest(parse_ref(ref))
    if manifest is None:
        found = live or {"steps": 0, "columns": {}}
        return SaeCurves(sae=ref, label=label, finished=False, **found)
    files = api.store.files(parse_ref(ref))
    table = pq.read_table(files.path("curves.parquet"))
    shown = table.take(evenly_spaced(table.num_rows, POINTS))
    columns = {name: shown.column(name).to_pylist() for name in shown.column_names}
    return SaeCurves(sae=ref, label=manifest.label or label, finished=True, steps=table.num_rows, columns=columns)


def _live_curves(api: Api, id: str) -> dict[str, Any]:
    """What the driver last wrote. It replaces the file, so that it is always whole."""
    file = curves_file(api.settings.home, id)
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _checkpoints(api: Api, job: JobRow) -> list[RunCheckpoint]:
    found = []
    for ref in api.store.list("checkpoints", job.fingerprint[:8]):
        manifest = api.store.manifest(ref)
        if manifest is not None and manifest.summary["run"] == job.fingerprint:
            size = sum(file.size for file in manifest.files)
            saes = len(manifest.summary["saes"])
            found.append(RunCheckpoint(block=manifest.summary["block"], bytes=size, saes=saes))
    return sorted(found, key=lambda one: -one.block)
