"""head.sh and worker.sh, as systemd or a container runs them, and the manifest for KubeRay, as far as it can be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from cluster.machines.autoscaler import VARIABLE, declared
from cluster.machines.paths import code_root
from tests.cluster.nodes import CONNECTED, DOWN, REMAINS, environment_of, python

SCRIPTS = code_root() / "cluster" / "machines" / "scripts"


def _wait(what: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


def _record(folder: Path, pattern: str, old: int = 0) -> dict[str, Any] | None:
    """The record of what is started, once it is there and not the one with the pid `old`."""
    for path in folder.glob(pattern):
        record: dict[str, Any] = json.loads(path.read_text())
        if record["pid"] != old:
            return record
    return None


def _free_gcs_port() -> str:
    from cluster.machines.ports import free_port

    return str(free_port())


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    environment = environment_of(tmp_path / "head", RAYLENS_CPUS="1", PYTHON=sys.executable)
    yield environment
    python(DOWN, environment)


def test_a_worker_comes_back_with_its_head_and_goes_with_its_script(
    environment: dict[str, str], tmp_path: Path
) -> None:
    home, node = tmp_path / "head", tmp_path / "node"
    port = _free_gcs_port()
    up = ["sh", str(SCRIPTS / "head.sh"), "--no-api", "--port", port]
    join = ["sh", str(SCRIPTS / "worker.sh"), f"127.0.0.1:{port}", "--labels", "zone=a", "--num-cpus", "1"]
    node_environment = {**environment, "RAYLENS_HOME": str(node)}
    logs = (tmp_path / "head.log").open("wb"), (tmp_path / "node.log").open("wb")
    head = subprocess.Popen(up, env=environment, stdout=logs[0], stderr=subprocess.STDOUT)
    worker = None
    try:
        record = _wait(lambda: (found := _record(home, "cluster.json")) and found["session"] and found)
        node.mkdir()
        os.link(home / "token", node / "token")
        worker = subprocess.Popen(join, env=node_environment, stdout=logs[1], stderr=subprocess.STDOUT)
        zones = CONNECTED.format("print(json.dumps([n['Labels'].get('zone') for n in ray.nodes() if n['Alive']]))")
        _wait(lambda: "a" in python(zones, environment))
        joined = _record(node / "joined", "*.json")
        assert joined is not None
        psutil.Process(joined["pid"]).kill()
        again = _wait(lambda: _record(node / "joined", "*.json", old=joined["pid"]))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
        assert python(REMAINS.format(again["temp_dir"]), environment) == []
        assert head.poll() is None
        head.send_signal(signal.SIGTERM)
        assert head.wait(timeout=60) == 0
        assert python(REMAINS.format(record["temp_dir"]), environment) == []
        assert not (home / "cluster.json").exists()
    finally:
        for process in (worker, head):
            if process is not None:
                process.kill()
                process.wait()
        python(DOWN, node_environment)
        for log in logs:
            log.close()


def test_the_manifest_offers_what_its_groups_are() -> None:
    """KubeRay is not here to apply it; what two of its places say of one thing must agree."""
    documents = {one["kind"]: one for one in yaml.safe_load_all((SCRIPTS / "kuberay.yaml").read_text())}
    spec = documents["RayCluster"]["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert documents["RayJob"]["spec"]["clusterSelector"] == {
        "ray.io/cluster": documents["RayCluster"]["metadata"]["name"]
    }
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in head["env"]}
    types = {one.name: one for one in declared(variables[VARIABLE], [])}
    assert len(types) == len(spec["workerGroupSpecs"])
    for group in spec["workerGroupSpecs"]:
        one, limits = types[group["groupName"]], group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert one.more == group["maxReplicas"]
        assert one.cpus == float(limits["cpu"])
        assert one.gpus == float(limits.get("nvidia.com/gpu", 0))
        assert one.memory == int(limits["memory"].removesuffix("Gi")) << 30
        assert group.get("labels", {}).items() <= one.labels.items()
