"""What the tests of the catalog share: a request, a manifest, and ways to bring a job to a state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.catalog import Catalog, JobRow, State, Submission

REPOSITORY = Path(__file__).resolve().parents[2]
REF = "saes/0123456789abcdef"
MANIFEST: dict[str, Any] = {
    "kind": "saes",
    "id": "0123456789abcdef",
    "stage": "train",
    "stage_version": 1,
    "attempt": 1,
    "label": "k 32",
    "inputs": {"tokens": "tokens/0123456789abcdef"},
    "summary": {"ev": 0.8},
    "files": [{"size": 3}, {"size": 4}],
}


def submit(catalog: Catalog, fingerprint: str = "f" * 16, **more: Any) -> Submission:
    return catalog.submit(
        **{
            "stage": "train",
            "fingerprint": fingerprint,
            "config": {"k": 32},
            "requirement": {"cpus": 1},
            "outputs": [REF],
            "inputs": {"tokens": "tokens/0123456789abcdef"},
            "created_by": "ada",
            **more,
        }
    )


def run(catalog: Catalog, job: Submission, state: State) -> None:
    """Takes a job that has just been submitted to a state."""
    if state in (State.WAITING, State.RUNNING):
        assert catalog.progress(job.job_id, job.attempt, state=state)
    elif state == State.CANCELLING:
        catalog.request_cancel(job.job_id)
    elif state == State.SUCCEEDED:
        assert catalog.progress(job.job_id, job.attempt, state=State.RUNNING)
        catalog.finish(job.job_id, job.attempt, state)
    elif state != State.QUEUED:
        catalog.finish(job.job_id, job.attempt, state)
    assert catalog.job(job.job_id).state == state


def published(catalog: Catalog, fingerprint: str = "f" * 16, **manifest: Any) -> Submission:
    """A job that made one artifact and succeeded."""
    said = MANIFEST | manifest
    job = submit(catalog, fingerprint, outputs=[f"{said['kind']}/{said['id']}"], inputs=said["inputs"])
    run(catalog, job, State.RUNNING)
    catalog.publish(job.job_id, job.attempt, said)
    catalog.finish(job.job_id, job.attempt, State.SUCCEEDED)
    return job


def pending(catalog: Catalog) -> list[JobRow]:
    """Jobs that wait to be granted, in the order of their submission."""
    return [job for job, attempt in catalog.live() if attempt.pending]


def why_dead(catalog: Catalog, job_id: str) -> str | None:
    """Why the driver of a job's last attempt must be taken for dead; None if it lives or there is none."""
    return catalog.dead_driver(catalog.attempts(job_id)[-1])


def values(row: Any) -> dict[str, Any]:
    """A row's columns, to compare rows by."""
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}
