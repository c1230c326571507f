"""Whether the cluster has room for an interactive language model, and which jobs use it if not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.concurrency import run_in_threadpool

from configs.requirements import Capacity, Fit, Requirement, fit
from jobs.life.submit import capacity_of
from serve_app import artifact_requests
from serve_app.dependencies import Api
from serve_app.errors import ApiError
from serve_app.language_models.model_memory import process_bytes
from serve_app.routes.cluster import admitted_requirements


def check_capacity(api: Api, model: str, dtype: str) -> None:
    """Raises ApiError (503), with the jobs that use it, if the cluster has no memory or GPU left for the model (an id)."""
    capacity = capacity_of(api.catalog)
    if capacity is None:
        return
    parameters = int(artifact_requests.row_of(api, "models", model).summary.get("parameters") or 0)
    gpus = 1.0 if api.settings.device == "cuda" else 0.0
    requirement = Requirement(workers=1, cpus=0, gpus=gpus, memory=0 if gpus else process_bytes(parameters, dtype))
    # The model's own process may use memory already: only jobs are counted.
    nodes = tuple(n._replace(free_cpus=n.cpus, free_gpus=n.gpus, free_memory=n.memory) for n in capacity.nodes)
    verdict = fit(requirement, Capacity(nodes, None), admitted_requirements(api))
    if verdict.fit is not Fit.NOW:
        detail, jobs = f"the language model {verdict.reason}", list(verdict.blocked_by)
        raise ApiError(503, "no_capacity", detail, {"Retry-After": "30"}, blocked_by=jobs)


@asynccontextmanager
async def naming_jobs(api: Api) -> AsyncIterator[None]:
    """Adds the jobs that use the cluster to an error from the model's own process, which does not know of them."""
    try:
        yield
    except ApiError as error:
        if error.code == "no_capacity":
            error.extra.setdefault("blocked_by", list(await run_in_threadpool(admitted_requirements, api)))
        raise
