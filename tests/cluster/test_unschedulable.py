"""Work that a cluster cannot place ends within 30 s, and what is said of it names need, offer and what would fit.

A real cluster of `up`, in a home of its own; each case (tests/cluster/unschedulable.py) is a driver of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from cluster.machines.paths import code_root
from cluster.machines.unschedulable import explain
from configs.requirements import Capacity, Node, Requirement
from tests.cluster.nodes import DOWN, UP, environment_of, python

LIMIT_S = 30.0
SLOW = ("serve_replica", "train")  # they mostly wait: started first, they do so while the others run


class Cases(NamedTuple):
    """How to ask for the answer of a case."""

    environment: dict[str, str]
    started: dict[str, subprocess.Popen[str]]

    def answer(self, name: str) -> dict[str, Any]:
        process = self.started.pop(name, None) or _start(name, self.environment)
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err[-4000:]
        return dict(json.loads(out.splitlines()[-1]))


def _start(name: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.unschedulable", name],
        env=environment,
        cwd=code_root(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    environment = environment_of(tmp_path_factory.mktemp("home"), RAYLENS_CPUS="2")
    python(UP, environment, timeout=180)
    found = Cases(environment, {name: _start(name, environment) for name in SLOW})
    try:
        yield found
    finally:
        for process in found.started.values():
            process.kill()
            process.communicate()
        python(DOWN, environment)


@pytest.mark.parametrize(
    ("name", "error", "requirement", "largest"),
    [
        ("task", "TaskUnschedulableError", "1 worker x {1 CPU, 1 GPU}", 0),
        ("actor", "ActorUnschedulableError", "1 worker x {1 CPU, 0 GPU, zone=nowhere}", 0),
        ("data", "ActorUnschedulableError", "1 worker x {1 CPU, 1 GPU}", 0),
        ("ray_job", "RuntimeError", "1 worker x {1 CPU, 1 GPU}", 0),
        ("serve_replica", "RuntimeError", "1 worker x {1 CPU, 1 GPU}", 0),
        ("train", "WorkersDidNotStart", "2 workers x {2 CPU, 0 GPU}", 1),
    ],
)
def test_it_ends_and_says_why(cases: Cases, name: str, error: str, requirement: str, largest: int) -> None:
    answer = cases.answer(name)
    assert answer["error"] == error, answer
    assert answer["seconds"] < LIMIT_S, answer
    assert f"it can never run here: it needs {requirement}; there is 1 node: 2 CPU (" in answer["explained"]
    assert f"the most workers of this size that fit is {largest}" in answer["explained"]
    if name == "ray_job":
        assert answer["said"].startswith("FAILED: ")
    if name == "serve_replica":
        assert "DEPLOY_FAILED" in answer["said"]


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
