"""A cluster that outlives its command: up, a pipeline in a Ray job on it, down, and nothing of it left."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.machines.paths import code_root


def _run(arguments: list[str], environment: dict[str, str], timeout: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=code_root(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a home of its own and token authentication, as a user has it. The cluster is ended after."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYLENS_"))}
    environment["RAYLENS_HOME"] = str(tmp_path / "home")
    yield environment
    _run(["-m", "cluster", "down"], environment)


def _of_cluster(up: dict[str, str]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == up["pid"] or any(up["temp_dir"] in part for part in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def test_a_pipeline_in_a_ray_job_and_nothing_left_after_down(environment: dict[str, str], tmp_path: Path) -> None:
    started = _run(["-c", "from cluster.machines.up import exports, up; print(exports(up()))"], environment)
    assert started.returncode == 0, started.stderr
    home = Path(environment["RAYLENS_HOME"])
    up = json.loads((home / "cluster.json").read_text())
    assert (home / "token").read_text() not in started.stdout + started.stderr
    exports = ast.literal_eval(started.stdout.splitlines()[-1])

    pipeline = tmp_path / "pipeline.yaml"
    stages = []
    for name in ("one", "two"):
        rows = [json.dumps({"text": f"{name} document {i}"}) for i in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
        source = {"type": "local", "path": str(tmp_path / f"{name}.jsonl")}
        stages.append({"stage": "download", "what": "dataset", "source": source})
    pipeline.write_text(json.dumps({"stage": "pipeline", "stages": stages}))
    command = ["-m", "ray.scripts.scripts", "job", "submit", "--working-dir", ".", "--"]
    submitted = _run(
        [*command, "python", "-m", "jobs", "pipeline", "--config", str(pipeline)], {**environment, **exports}
    )
    assert submitted.returncode == 0, submitted.stdout[-3000:] + submitted.stderr[-3000:]
    assert submitted.stdout.count("100%  datasets/") == 2

    # The same command beside the cluster joins it, finds all of it done, and says so in one line.
    again = _run(["-m", "jobs", "pipeline", "--config", str(pipeline)], environment)
    answer = json.loads(again.stdout)
    assert again.returncode == 0
    assert answer["state"] == "SUCCEEDED"
    assert len(answer["artifacts"]) == 2
    assert submitted.stdout.count(json.dumps(answer)) == 1

    status = _run(["-m", "cluster", "status"], environment)
    assert up["address"] in status.stdout
    assert "1 head" in status.stdout
    processes = _of_cluster(up)
    assert len(processes) > 3
    down = _run(["-m", "cluster", "down"], environment)
    assert down.returncode == 0
    assert not _of_cluster(up)
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not Path(up["temp_dir"]).exists()
    assert not (home / "cluster.json").exists()
