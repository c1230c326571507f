"""Heads and nodes that are started, killed, started over and ended: nothing is left, and nothing else is touched."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.file_locks import is_locked
from cluster.machines.paths import code_root
from cluster.machines.ports import free_ports
from cluster.machines.ray_environment import CLUSTER
from tests.cluster.nodes import CONNECTED, DOWN, REMAINS, UP, cluster, environment_of, python


@pytest.fixture
def head_env(tmp_path: Path) -> Iterator[dict[str, str]]:
    environment = environment_of(tmp_path / "head", RAYLENS_CPUS="2")
    yield environment
    python(DOWN, environment)


@pytest.fixture
def node_env(tmp_path: Path, head_env: dict[str, str]) -> Iterator[dict[str, str]]:
    """As on another machine that was given the head's token."""
    environment = environment_of(tmp_path / "node")
    yield environment
    python(DOWN, environment)


def test_a_head_and_a_node_that_joins_it_as_their_scripts_run_them(
    head_env: dict[str, str], node_env: dict[str, str], tmp_path: Path
) -> None:
    home, node = tmp_path / "head", tmp_path / "node"
    port = str(*free_ports(1))
    join = [f"127.0.0.1:{port}", "--labels", "zone=a", "tier=big", "--num-cpus", "1", "--num-gpus", "2"]
    with _script("head.sh", ["--no-api", "--port", port], head_env) as head:
        up = _wait(lambda: (found := _record(home, "cluster.json")) and found["session"] and found)
        _check_head(up, head_env)
        assert is_locked(home / "logs" / "cluster.log")
        _check_no_token(up, node, node_env)
        shutil.copy(home / "token", node / "token")
        with _script("worker.sh", join, node_env) as worker:
            joined = _wait(lambda: _record(node / "joined", "*.json"))
            _check_joined(up, join, joined, head_env, node_env)
            psutil.Process(joined["pid"]).kill()  # it comes back
            again = _wait(lambda: _record(node / "joined", "*.json", old=joined["pid"]))
            worker.send_signal(signal.SIGTERM)  # while it starts, or later: nothing of it may stay
            assert worker.wait(timeout=60) == 0
        assert python(REMAINS.format(again["temp_dir"]), head_env) == []
        assert not Path(again["temp_dir"]).exists()
        assert cluster(["down"], node_env).stdout == "no cluster was up\n"
        assert head.poll() is None
        head.send_signal(signal.SIGTERM)
        assert head.wait(timeout=60) == 0
    assert python(REMAINS.format(up["temp_dir"]), head_env) == []
    assert not (home / "cluster.json").exists()
    assert not is_locked(home / "logs" / "cluster.log")


def _check_head(up: dict[str, Any], environment: dict[str, str]) -> None:
    assert python(UP, environment) == up  # a second `up` gives the one that runs
    other = cluster(["up", "--port", "7000"], environment)
    assert other.returncode == 1
    assert f"a cluster is up already at {up['address']}" in other.stderr
    session = python(CONNECTED.format("print(json.dumps(ray.get_runtime_context().get_session_name()))"), environment)
    assert up["session"] == session
    with urllib.request.urlopen(f"http://127.0.0.1:{up['metrics_port']}/metrics", timeout=10) as answer:
        assert b"ray_" in answer.read()


def _check_no_token(up: dict[str, Any], node: Path, environment: dict[str, str]) -> None:
    refused = cluster(["join", up["address"]], environment)
    assert refused.returncode == 1
    assert f"{node / 'token'} is not there: copy" in refused.stderr


def _check_joined(
    up: dict[str, Any], join: list[str], joined: dict[str, Any], head_env: dict[str, str], node_env: dict[str, str]
) -> None:
    again = cluster(["join", *join], node_env)
    assert f"process {joined['pid']};" in again.stdout  # the same one
    other = cluster(["join", *join[:-2]], node_env)
    assert "joined" in other.stderr and "already, with 1 CPU, 2 GPU" in other.stderr
    itself = cluster(["join", up["address"]], head_env)
    assert "this machine is the head" in itself.stderr
    doctor = cluster(["doctor", "--profile", "local"], head_env)
    assert doctor.returncode == 0, doctor.stdout
    assert "recovery  a job that dies goes on from its last checkpoint by itself" in doctor.stdout
    assert "1 head    2 of 2  0" in doctor.stdout
    assert "2 worker  1 of 1  2 of 2" in doctor.stdout
    assert "tier=big, zone=a" in doctor.stdout


@contextmanager
def _script(name: str, arguments: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = ["sh", str(code_root() / "cluster" / "machines" / "scripts" / name), *arguments]
    process = subprocess.Popen(
        command, env={**environment, "PYTHON": sys.executable}, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait(what: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


def _record(folder: Path, pattern: str, old: int = 0) -> dict[str, Any] | None:
    """The record of what is started, once it is there and not the one with the pid `old`."""
    found: list[dict[str, Any]] = [json.loads(path.read_text()) for path in folder.glob(pattern)]
    return next((record for record in found if record["pid"] != old), None)


_DRIVER = CONNECTED.format(
    """
    @ray.remote(num_cpus=0)
    class Holder:
        def ready(self):
            return True
    holder = Holder.remote()
    ray.get(holder.ready.remote())
    print("ready", flush=True)
    import time
    time.sleep(600)
""".strip()
)


def test_up_over_the_remains_of_a_killed_head_ends_them_and_nothing_else(head_env: dict[str, str]) -> None:
    up = python(UP, head_env)
    # A driver as a Ray job is one: in a session of its own, marked by its environment only.
    marked = {**head_env, CLUSTER: up["temp_dir"]}
    options = {"cwd": code_root(), "stdout": subprocess.PIPE, "start_new_session": True}
    driver = subprocess.Popen([sys.executable, "-c", _DRIVER], env=marked, **options)
    similar = {**head_env, CLUSTER: up["temp_dir"] + "x"}
    bystander = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)", up["temp_dir"] + "x"], env=similar, **options
    )
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"ready\n"
        parent = psutil.Process(up["pid"])
        for process in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):  # a head starts short-lived processes too
                if process.pid == up["pid"] or process.name() in ("gcs_server", "raylet"):
                    process.send_signal(signal.SIGKILL)
        started = cluster_up_says(head_env)
        assert "removed what an earlier head left" in started
        new = json.loads((Path(head_env["RAYLENS_HOME"]) / "cluster.json").read_text())
        assert new["session"] != up["session"]
        assert python(REMAINS.format(up["temp_dir"]), head_env) == []
        driver.wait(timeout=10)
        assert not Path(up["temp_dir"]).exists()
        assert bystander.poll() is None
        assert python(CONNECTED.format("print(json.dumps(len(ray.nodes())))"), head_env) == 1
        doctor = cluster(["doctor"], head_env)  # `up` as a function starts no dispatcher
        assert doctor.returncode == 1
        assert "recovery  BAD: no dispatcher admits or recovers jobs on this cluster" in doctor.stdout
        assert "1 check failed" in doctor.stdout
    finally:
        for process in (driver, bystander):
            process.kill()
            process.communicate()


def cluster_up_says(environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", UP], env=environment, cwd=code_root(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stderr
