"""A command under `ray job submit`, as a user gives it: it asks for a job and follows it like any other."""

from __future__ import annotations

import json
from pathlib import Path

from ray.job_submission import JobSubmissionClient

from tests.running_cluster import RunningCluster


def _write_pipeline(folder: Path) -> Path:
    stages = []
    for name in ("one", "two"):
        rows = [json.dumps({"text": f"{name} document {i}"}) for i in range(20)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
        source = {"type": "local", "path": str(folder / f"{name}.jsonl")}
        stages.append({"stage": "download", "what": "dataset", "source": source})
    pipeline = folder / "pipeline.yaml"
    pipeline.write_text(json.dumps({"stage": "pipeline", "stages": stages}))
    return pipeline


def test_its_jobs_run_with_the_code_that_was_uploaded(running_cluster: RunningCluster, tmp_path: Path) -> None:
    command = ["python", "-m", "jobs", "pipeline", "--config", str(_write_pipeline(tmp_path))]
    submit = ("job", "submit", "--working-dir", ".", "--", *command)
    ran = running_cluster.run("ray.scripts.scripts", *submit, environment=running_cluster.exports)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    answer = next(json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"job": '))
    assert (answer["state"], len(answer["artifacts"])) == ("SUCCEEDED", 2)
    assert ran.stdout.count("100%  datasets/") == 2  # it followed

    artifact = running_cluster.store.list("datasets", answer["artifacts"][0].rpartition("/")[2])
    assert artifact
    job = running_cluster.catalog.artifact(artifact[0]).job_id
    assert job is not None
    row = running_cluster.catalog.job(job)
    assert row.environment["working_dir"].startswith("gcs://")
    last = running_cluster.catalog.attempts(row.id)[-1]
    token = Path(running_cluster.exports["RAY_AUTH_TOKEN_PATH"]).read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    dashboard = JobSubmissionClient(running_cluster.exports["RAY_API_SERVER_ADDRESS"], headers=headers)
    info = dashboard.get_job_info(str(last.ray_job))
    assert info.metadata is not None
    assert (info.metadata["raylens_job"], info.metadata["stage"], info.status) == (row.id, "download", "SUCCEEDED")

    # The same command beside the cluster joins it, finds all of it done, and says so in one line.
    again = running_cluster.run(*command[2:])
    assert again.returncode == 0
    assert json.loads(again.stdout) == answer


def test_status_names_the_cluster(running_cluster: RunningCluster) -> None:
    status = running_cluster.run("cluster", "status")
    assert running_cluster.address() in status.stdout
    assert "1 head" in status.stdout
