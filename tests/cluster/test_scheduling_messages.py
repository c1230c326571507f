"""Work that a cluster cannot schedule ends, and the message names requirement, capacity and what would fit.

On the running cluster; the cases (tests/cluster/unschedulable.py) are drivers of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from cluster.machines.paths import code_root
from cluster.machines.scheduling_messages import explain
from configs.requirements import Capacity, Node, Requirement
from tests.running_cluster import RunningCluster

DRIVERS = (("serve_replica",), ("train",), ("task", "actor", "data", "ray_job"))  # the first two mostly wait


@pytest.fixture(scope="module")
def results(running_cluster: RunningCluster) -> dict[str, dict[str, Any]]:
    """What came of each case, by its name."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.unschedulable", *cases],
            env=running_cluster.environment,
            cwd=code_root(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for cases in DRIVERS
    ]
    found = {}
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err[-4000:]
        lines = [json.loads(line) for line in out.splitlines() if line.startswith('{"case"')]
        found |= {line["case"]: line for line in lines}
    return found


@pytest.mark.parametrize(
    ("name", "error", "requirement", "largest"),
    [
        ("task", "TaskUnschedulableError", "1 worker x {1 CPU, 1 GPU}", 0),
        ("actor", "ActorUnschedulableError", "1 worker x {1 CPU, 0 GPU, zone=nowhere}", 0),
        ("data", "ActorUnschedulableError", "1 worker x {1 CPU, 1 GPU}", 0),
        ("ray_job", "RuntimeError", "1 worker x {1 CPU, 1 GPU}", 0),
        ("serve_replica", "RuntimeError", "1 worker x {1 CPU, 1 GPU}", 0),
        ("train", "WorkersDidNotStart", "2 workers x {3 CPU, 0 GPU}", 1),
    ],
)
def test_it_ends_and_says_why(
    results: dict[str, dict[str, Any]], name: str, error: str, requirement: str, largest: int
) -> None:
    answer = results[name]
    assert answer["error"] == error, answer
    assert f"it can never run here: it needs {requirement}; there is 1 node: 4 CPU (" in answer["explained"]
    assert f"the most workers of this size that fit is {largest}" in answer["explained"]
    if name == "ray_job":
        assert answer["message"].startswith("FAILED: ")
    if name == "serve_replica":
        assert "DEPLOY_FAILED" in answer["message"]


def test_where_it_should_fit_rays_own_words_are_told() -> None:
    said = (
        "Traceback ...\nThe actor is not schedulable: Tasks or actors with resource shapes [{}] failed to schedule. "
        "lease_id=00ff, name=compute"
    )
    told = explain(said, Requirement(), Capacity([Node(2, 0, 2**30, {}, 2, 0, 2**30)]))
    assert told.startswith(
        "Ray could not schedule it, though it needs 1 worker x {1 CPU, 0 GPU}; there is 1 node: 2 CPU"
    )
    assert told.endswith(
        "Ray says: The actor is not schedulable: Tasks or actors with resource shapes [{}] failed to schedule"
    )
