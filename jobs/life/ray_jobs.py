"""One stage as a Ray job of its own, on a running cluster: submitted, followed, and ended with its state."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from cluster.machines.connection import runtime_env
from cluster.machines.discover import ray_job_working_dir
from cluster.records import IllegalMove, RecordsError
from configs.base import StageConfig
from configs.identity import canonical_json
from jobs.life.outcome import Failure, Outcome
from jobs.life.session import RAY_JOB, Session
from jobs.life.stage_context import Stopped

POLL_SECONDS = 1.0
# `ray job stop` sends SIGTERM and kills 3 s later; the stage needs SIGINT and time for its checkpoint.
STOP = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
_PASSED_ON = ("RAYLENS_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE")
_RAY_SAYS = "Running entrypoint for job"  # and then the whole config
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class RayJobLost(RuntimeError):
    """The Ray job ended without saying how its stage ended."""


def run_as_ray_job(session: Session, config: StageConfig) -> Outcome:
    """Submits `python -m jobs STAGE` and waits. A stop asked of this driver is handed to the stage, through its row."""
    from ray.job_submission import JobSubmissionClient

    session.connect()  # also puts the cluster's token into the environment
    client = JobSubmissionClient(_dashboard(session))
    ray_job = f"{config.stage}-{secrets.token_hex(5)}"
    client.submit_job(
        submission_id=ray_job,
        entrypoint=entrypoint(session, config),
        runtime_env=job_environment(session, ray_job),
        metadata={"raylens_stage": config.stage},
    )
    session.say(f"{config.stage:<9} runs as Ray job {ray_job}")
    fingerprint = session.planner.step(config).fingerprint
    printed, asked = 0, False
    try:
        while True:
            status = str(client.get_job_status(ray_job))
            logs = client.get_job_logs(ray_job)
            printed += _print(logs[printed:])
            if status.endswith(_ENDED):
                return _ended(session, config, ray_job, logs)
            if session.stop() and not asked:
                asked = _ask(session, fingerprint, ray_job, "stop", client.stop_job)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        if not _ask(session, fingerprint, ray_job, "cancel", client.stop_job):
            client.stop_job(ray_job)
        raise


def entrypoint(session: Session, config: StageConfig) -> str:
    """The command line of the stage, with its config in it: expanded, overridden and with `auto` settled."""
    arguments = ["python", "-m", "jobs", config.stage, "--config-json", canonical_json(config.model_dump(mode="json"))]
    arguments += ["--profile", session.profile_name, "--wait", f"{session.wait:g}"]
    return shlex.join(arguments)


def job_environment(session: Session, ray_job: str) -> dict[str, Any]:
    """The code of this process (the same upload inside a Ray job, else this checkout), its store, its hub.

    A Ray job has the environment of the cluster's head, not that of the shell that asked for it.
    """
    working_dir = ray_job_working_dir()
    code = {"working_dir": working_dir} if working_dir else runtime_env()
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**code, "env_vars": {**STOP, **passed, "RAYLENS_STORE": session.store.url, RAY_JOB: ray_job}}


def _dashboard(session: Session) -> str:
    if session.target.dashboard:
        return session.target.dashboard
    from ray.dashboard.utils import ray_address_to_api_server_url

    return str(ray_address_to_api_server_url(session.target.address))


def _ask(
    session: Session, fingerprint: str, ray_job: str, how: Literal["stop", "cancel"], stop_job: Callable[[str], object]
) -> bool:
    """Asks the stage to end, through its row. False if it has none yet.

    If another driver runs that row, our Ray job only waits for it: the waiting ends, the other's job goes on.
    """
    row = next(iter(session.records.jobs(fingerprint=fingerprint, limit=1)), None)
    if row is None or not row.live:
        return False
    if row.requirement.get("ray_job") == ray_job:
        with suppress(IllegalMove):  # it has just ended
            session.records.request_cancel(row.id, how)
    else:
        stop_job(ray_job)
    return True


def _ended(session: Session, config: StageConfig, ray_job: str, logs: str) -> Outcome:
    answer = next((found for line in reversed(logs.splitlines()) if (found := _answer(line))), None)
    if answer is None:
        if session.stop():
            raise Stopped
        tail = "\n".join(logs.strip().splitlines()[-5:])
        raise RayJobLost(f"{config.stage}: Ray job {ray_job} ended without an answer; the end of its log:\n{tail}")
    failure = _failure(session, answer["job"], logs) if answer["state"] == "FAILED" else None
    message = failure.message if failure else f"{config.stage}: Ray job {ray_job} ended {answer['state']}"
    return Outcome(answer["job"] or "", answer["state"], answer["artifacts"], message, failure)


def _failure(session: Session, job_id: str | None, logs: str) -> Failure:
    if job_id is not None:
        try:
            row = session.records.job(job_id)
            return Failure(row.code or "failed", row.message or "it failed", True)
        except RecordsError:
            pass  # a driver on another home: what it said is in its log
    said = [line.removeprefix("error: ") for line in logs.splitlines() if line.startswith("error: ")]
    return Failure("failed", said[-1] if said else "it failed", True)


def _print(text: str) -> int:
    """Prints the whole lines that people should see; gives how many characters it dealt with."""
    whole = text[: text.rfind("\n") + 1]
    shown = [
        line for line in whole.splitlines(keepends=True) if _answer(line) is None and not line.startswith(_RAY_SAYS)
    ]
    sys.stderr.write("".join(shown))
    sys.stderr.flush()
    return len(whole)


def _answer(line: str) -> dict[str, Any] | None:
    """The one line that a stage writes to standard output; a Ray job's log mixes it with the rest."""
    if not line.startswith('{"job": '):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"job", "state", "artifacts"} <= set(found) else None
