"""Heads and nodes for tests: each in a home of its own, and what belongs to one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.machines.home import code_root


def environment_of(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user who set nothing but the home: token authentication is on."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYLENS_"))}
    return {**kept, "RAYLENS_HOME": str(home), **more}


def python(code: str, environment: dict[str, str], timeout: float = 120) -> Any:
    """Runs code in a process of its own; gives what its last line of standard output says in JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=code_root(), capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def cluster(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs `python -m cluster`."""
    return subprocess.run(
        [sys.executable, "-m", "cluster", *arguments],
        env=environment,
        cwd=code_root(),
        capture_output=True,
        text=True,
        timeout=180,
    )


UP = "import json; from cluster.machines.up import up; print(json.dumps(up()._asdict()))"
DOWN = "import json; from cluster.machines.down import down; print(json.dumps(down()))"
REMAINS = "import json, sys; from cluster.machines.processes import remains; print(json.dumps([p.pid for p in remains({!r})]))"
CONNECTED = """
import json
from cluster.machines.discover import discover
from cluster.machines.own import connected
with connected(discover(), bring_code=False):
    import ray
    {}
"""

# Four nodes with made-up GPUs and labels, that live until standard input is closed.
_FOUR = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(
    initialize_head=True,
    head_node_args={"num_cpus": 2, "memory": 8 << 30, "labels": {"zone": "a"}, "temp_dir": sys.argv[1]},
)
cluster.add_node(num_cpus=4, memory=16 << 30, labels={"zone": "b"})
for zone in "ab":
    cluster.add_node(
        num_cpus=4, num_gpus=1, memory=16 << 30, labels={"zone": zone, "gpu": "a100", "ray.io/node-group": "gpus"}
    )
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="session")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a command that uses a cluster of four nodes."""
    environment = environment_of(tmp_path_factory.mktemp("home"), RAY_AUTH_MODE="disabled")
    environment |= {"RAY_enable_autoscaler_v2": "1", "RAY_enable_infeasible_task_early_exit": "1"}
    environment |= {"RAY_metrics_report_interval_ms": "1000", "PYTHONPATH": str(code_root())}
    with tempfile.TemporaryDirectory(prefix="rl", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", _FOUR, folder],
            env=environment,
            cwd=code_root(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address
            yield {**environment, "RAY_ADDRESS": address}
        finally:
            process.communicate(timeout=60)
