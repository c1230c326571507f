"""The cluster: its nodes, the jobs on them, and whether each stage of a profile fits."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from cluster.catalog import DISPATCHER
from configs.requirements import Capacity, Requirement, fit
from configs.resource_profiles import load_profile
from jobs.life.resource_demand import requirement_of_row
from jobs.life.submit import capacity_of, has_gpu
from serve_app.dependencies import Api, ApiDep
from serve_app.errors import ApiError
from serve_app.job_requests import requirement_json
from serve_app.openapi.responses import problems
from serve_app.paging import StrictQuery
from serve_app.schemas.cluster import Cluster, ClusterNode, Fits, NodeType, StageFit
from serve_app.schemas.common import Profile
from serve_app.security.redaction import redact

router = APIRouter(prefix="/v1/cluster", tags=["cluster"])


class FitQuery(StrictQuery):
    """Query parameters of the fit of stages."""

    profile: Profile = Field("auto", description="The resource profile.")


@router.get("", summary="Get the cluster")
def get_cluster(api: ApiDep) -> Cluster:
    """Its nodes with their free resources, and the jobs that run or wait."""
    lease = api.catalog.lease_row(DISPATCHER)
    capacity = capacity_of(api.catalog) or Capacity(())
    live = api.catalog.live()
    return Cluster(
        up=lease is not None and lease.held,
        nodes=[ClusterNode.from_node(node) for node in capacity.nodes],
        node_types=[NodeType(**{k: getattr(t, k) for k in NodeType.model_fields}) for t in capacity.node_types],
        store_free=capacity.store_free,
        running=[job.id for job, attempt in live if attempt.admitted],
        waiting=[job.id for job, attempt in live if not attempt.admitted],
    )


@router.get(
    "/fit", summary="Check whether each stage fits", responses=problems(s503="No cluster was started yet: start it.")
)
def get_fit(api: ApiDep, query: Annotated[FitQuery, Query()]) -> Fits:
    """For each stage of a profile: requirement, capacity, and whether it fits now, later or never. The table of `doctor`."""
    capacity = capacity_of(api.catalog)
    if capacity is None:
        raise ApiError(503, "no_cluster", "no cluster was started yet: `python -m cluster up`", {"Retry-After": "5"})
    profile = load_profile(query.profile, has_gpu(api.catalog))
    admitted = admitted_requirements(api)
    stages = [
        _stage_fit(stage, requirement.model_copy(update={"device": profile.device}), capacity, admitted)
        for stage, requirement in profile.stages.items()
    ]
    return Fits(profile="gpu" if profile.device == "cuda" else "local", stages=stages)


def admitted_requirements(api: Api) -> dict[str, Requirement]:
    """The requirements of the admitted jobs, by id."""
    return {job.id: requirement_of_row(job) for job, attempt in api.catalog.live() if attempt.admitted}


def _stage_fit(stage: str, requirement: Requirement, capacity: Capacity, admitted: dict[str, Requirement]) -> StageFit:
    verdict = fit(requirement, capacity, admitted)
    return StageFit(
        stage=stage,
        requirement=requirement_json(requirement),
        fits=verdict.fit.name.lower(),
        reason=redact(verdict.reason),
        largest_workers=verdict.largest_workers,
        suggestion=redact(verdict.suggestion),
        blocked_by=list(verdict.blocked_by),
    )
