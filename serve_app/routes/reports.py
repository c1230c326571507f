"""Reports, one self-contained page each."""

from __future__ import annotations

from fastapi import Response

from serve_app.dependencies import ApiDep, PrincipalDep
from serve_app.idempotency import IdempotencyKey
from serve_app.job_requests import submit_job
from serve_app.openapi.responses import ACCEPTED
from serve_app.routes.artifacts import artifact_routes
from serve_app.schemas.jobs import Accepted
from serve_app.schemas.requests import ReportRequest

router = artifact_routes("reports", "report")


@router.post("", status_code=202, responses=ACCEPTED, summary="Write a report")
def create_report(
    api: ApiDep, principal: PrincipalDep, body: ReportRequest, response: Response, key: IdempotencyKey = None
) -> Accepted:
    """One self-contained page about an SAE and its features. Download it as the file `report.html`."""
    return submit_job(api, principal, key, "report", body.stage_fields(), body, response)
