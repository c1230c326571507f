"""Drivers of granted attempts: one Ray job each, named after its job, on the machine of the head."""

from __future__ import annotations

import os
import shlex
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.catalog import JobRow
from cluster.machines.connection import runtime_env
from cluster.machines.discover import ray_job_working_dir
from configs.artifact_ids import canonical_json

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

# `ray job stop` sends SIGTERM and kills 3 s later; the stage needs SIGINT and time for its checkpoint.
STOP = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
PASSED_ON = ("RAYLENS_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE")
_OVER = ("FAILED", "STOPPED", "SUCCEEDED")
CHECK_S = 10.0  # for the dashboard to answer how a Ray job is
ANSWER_S = 60.0  # and to do anything else; Ray's own client waits for ever
_REMEMBERED = 1000  # answers that are remembered
NO_AGENT = "No available agent"  # Ray's answer while a head that has just started has no agent yet
AGENT_S = 60.0  # for one to come


def environment_here(store_url: str, cluster: str | None) -> dict[str, Any]:
    """How a job that this process submits is to be started elsewhere: its code, its store, its hub. No secrets.

    Inside a Ray job the code is that job's upload, which lives as long as `cluster` does.
    """
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    code = ray_job_working_dir() or runtime_env().get("working_dir")
    return {"working_dir": code, "cluster": cluster, "env_vars": {**passed, "RAYLENS_STORE": store_url}}


def ray_job_of(job: JobRow) -> str:
    """The Ray job's name, readable on the dashboard."""
    return f"{job.id}-a{job.attempt}"


class RayJobLauncher:
    """Starts and watches Ray jobs in threads of its own: an upload takes seconds, a dashboard that hangs answers never,
    and the dispatcher must not wait for it."""

    def __init__(self, dashboard: str, cluster: str) -> None:
        self._client = _client(dashboard)
        self._cluster = cluster
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="raylens-driver")
        self._checkers = ThreadPoolExecutor(4, thread_name_prefix="raylens-check")
        self._checks: dict[str, Future[str | None]] = {}
        self._starting: dict[str, Future[None]] = {}

    def ready(self) -> bool:
        """Always: each attempt has a process of its own."""
        return True

    def ray_job(self, job: JobRow) -> str:
        """The Ray job's name."""
        return ray_job_of(job)

    def start(self, job: JobRow) -> None:
        """Starts the driver of a granted attempt. `failed` says how that went."""
        name = ray_job_of(job)
        self._starting[name] = self._threads.submit(self._submit, name, job)

    def stop(self, ray_job: str) -> None:
        """Ends a driver that is not wanted any more before it has claimed its attempt; one that does so finds out itself."""
        self._threads.submit(self._client.stop_job, ray_job)

    def failed(self, ray_job: str) -> str | None:
        """Why a driver that has not claimed its attempt never will; None while it still may. Waits for nobody.

        The dashboard is asked in a thread, and its answer is known at a later call.
        """
        starting = self._starting.get(ray_job)
        if starting is not None:
            if not starting.done():
                return None
            del self._starting[ray_job]
            if (error := starting.exception()) is not None:
                return (str(error).strip() or type(error).__name__).splitlines()[0]
        check = self._checks.pop(ray_job, None)
        if check is not None and not check.done():
            self._checks[ray_job] = check
            return None
        self._checks[ray_job] = self._checkers.submit(self._check, ray_job)
        while len(self._checks) > _REMEMBERED:  # of drivers that are no longer checked
            del self._checks[next(iter(self._checks))]
        return None if check is None else check.result()

    def _check(self, ray_job: str) -> str | None:
        try:
            info = self._client.get_job_info(ray_job)
        except Exception as error:  # noqa: BLE001 - the dashboard may be slow; the reconciler's own patience has an end
            return "the cluster does not know its Ray job" if "does not exist" in str(error) else None
        return (info.message or f"its Ray job {info.status}") if str(info.status).endswith(_OVER) else None

    def _submit(self, name: str, job: JobRow) -> None:
        from tenacity import Retrying, retry_if_exception_message, stop_after_delay, wait_fixed

        patient = Retrying(
            retry=retry_if_exception_message(match=f"(?s).*{NO_AGENT}"),
            stop=stop_after_delay(AGENT_S),
            wait=wait_fixed(1),
            reraise=True,
        )
        patient(self._submit_once, name, job)

    def _submit_once(self, name: str, job: JobRow) -> None:
        try:
            self._client.submit_job(
                submission_id=name,
                entrypoint=shlex.join(["python", "-m", "jobs", "drive", job.id, str(job.attempt)]),
                runtime_env=self._environment(job),
                metadata=metadata(job),
            )
        except RuntimeError as error:
            if "already exists" not in str(error):  # submitted before, by a dispatcher that died before it knew
                raise

    def _environment(self, job: JobRow) -> dict[str, Any]:
        given = job.environment or {}
        code = str(given.get("working_dir") or "")
        # An upload ends with its cluster.
        usable = given.get("cluster") == self._cluster if "://" in code else bool(code) and Path(code).is_dir()
        chosen = {"working_dir": code} if usable else runtime_env()
        return {**chosen, "env_vars": {**STOP, **given.get("env_vars", {})}}


def _client(dashboard: str) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    class Patient(JobSubmissionClient):  # type: ignore[misc]  # Ray's class has no types
        """Ray's client with an end to its patience. The method is not a public name, but Ray has none that sets this."""

        def _do_request(self, method: str, *target: Any, **more: Any) -> Any:
            return super()._do_request(method, *target, timeout=CHECK_S if method == "GET" else ANSWER_S, **more)

    return Patient(dashboard)


def metadata(job: JobRow) -> dict[str, str]:
    """What the dashboard shows of a job beside its name."""
    shown = {
        "raylens_job": job.id,
        "stage": job.stage,
        "attempt": str(job.attempt),
        "makes": ", ".join(job.outputs)[:200],
        "created_by": job.created_by,
        "project": job.project,
        "name": job.name or "",
        "needs": canonical_json({k: v for k, v in job.requirement.items() if v}),
    }
    return {key: value for key, value in shown.items() if value}
