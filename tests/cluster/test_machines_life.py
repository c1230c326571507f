"""Heads and nodes that are started, killed, started over and ended: nothing is left, and nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.machines.home import code_root
from cluster.machines.settings import CLUSTER
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


def test_a_head_and_a_node_that_joins_it(head_env: dict[str, str], node_env: dict[str, str], tmp_path: Path) -> None:
    up = python(UP, head_env)
    assert python(UP, head_env) == up  # a second `up` gives the one that runs
    other = cluster(["up", "--port", "7000"], head_env)
    assert other.returncode == 1
    assert f"a cluster is up already at {up['address']}" in other.stderr
    session = python(CONNECTED.format("print(json.dumps(ray.get_runtime_context().get_session_name()))"), head_env)
    assert up["session"] == session
    with urllib.request.urlopen(f"http://127.0.0.1:{up['metrics_port']}/metrics", timeout=10) as answer:
        assert b"ray_" in answer.read()

    without_token = cluster(["join", up["address"]], node_env)
    assert without_token.returncode == 1
    assert f"copy $RAYLENS_HOME/token of the head to {tmp_path / 'node' / 'token'}" not in without_token.stdout
    assert f"{tmp_path / 'node' / 'token'} is not there: copy" in without_token.stderr
    shutil.copy(tmp_path / "head" / "token", tmp_path / "node" / "token")
    arguments = ["join", up["address"], "--labels", "zone=a", "tier=big", "--num-cpus", "1", "--num-gpus", "2"]
    joined = cluster(arguments, node_env)
    assert joined.returncode == 0, joined.stderr
    again = cluster(arguments, node_env)
    assert again.stdout == joined.stdout  # the same process
    other = cluster(arguments[:-2], node_env)
    assert "joined" in other.stderr and "already, with 1 CPU, 2 GPU" in other.stderr
    head_itself = cluster(["join", up["address"]], head_env)
    assert "this machine is the head" in head_itself.stderr

    status = cluster(["status"], head_env).stdout
    assert up["dashboard"] in status
    assert "1 head    2 of 2  0" in status
    assert "2 worker  1 of 1  2 of 2" in status
    assert "tier=big, zone=a" in status
    doctor = cluster(["doctor"], head_env)  # `up` as a function starts no dispatcher
    assert doctor.returncode == 1
    assert "recovery  BAD: nobody grants or recovers jobs on this cluster" in doctor.stdout
    assert "1 check failed" in doctor.stdout
    record = json.loads(next((tmp_path / "node" / "joined").glob("*.json")).read_text())
    assert cluster(["down"], node_env).returncode == 0
    assert python(REMAINS.format(record["temp_dir"]), head_env) == []
    assert not Path(record["temp_dir"]).exists()
    assert python(CONNECTED.format("print(json.dumps(sum(n['Alive'] for n in ray.nodes())))"), head_env) == 1
    assert cluster(["down"], node_env).stdout == "no cluster was up\n"


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


def test_what_cannot_be_is_said_before_anything_starts(head_env: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "head"
    home.mkdir()

    def said(*arguments: str, **more: str) -> str:
        done = cluster(list(arguments), {**head_env, **more})
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        assert not (home / "cluster.json").exists()
        return done.stderr

    assert "no such host" in said("up", "--host", "no.such.host.invalid")
    assert "is not an address of this machine" in said("up", "--host", "198.51.100.7")
    assert "give the one address" in said("up", "--host", "0.0.0.0")
    assert "a port is a number from 1024" in said("up", "--port", "80")
    address = next(
        (a.address for nic in psutil.net_if_addrs().values() for a in nic if a.family == 2 and a.address[:4] != "127."),
        None,
    )
    if address is not None:
        assert "without a token: unset RAY_AUTH_MODE" in said("up", "--host", address, RAY_AUTH_MODE="disabled")
    assert "no head answers at 127.0.0.1:9: start one there" in said("join", "127.0.0.1:9")
    assert "give HOST:PORT" in said("join", "somewhere")
    assert "expected KEY=VALUE" in said("join", "127.0.0.1:9", "--labels", "zone")
    assert "a value has at most 63" in said("join", "127.0.0.1:9", "--labels", "zone=a b")
    assert "a node cannot have -1 CPUs" in said("join", "127.0.0.1:9", "--num-cpus", "-1")
    # A home on a shared disk: the cluster of another machine is neither ended nor replaced from here.
    record = {
        "address": "127.0.0.1:9",
        "dashboard": "http://127.0.0.1:9",
        "pid": os.getpid(),
        "created": psutil.Process().create_time(),
        "temp_dir": "/tmp/raylens-up-elsewhere",
        "token": None,
        "machine": "elsewhere",
    }
    (home / "cluster.json").write_text(json.dumps(record))
    for command in ("up", "down"):
        done = cluster([command], head_env)
        assert "started on elsewhere" in done.stderr and done.returncode == 1
    (home / "cluster.json").unlink()


def test_a_stale_record_is_no_obstacle_and_its_folder_is_not_trusted(head_env: dict[str, str], tmp_path: Path) -> None:
    """A reused pid, a head of before a restart of the machine, and a record that names a folder of somebody else."""
    home, precious = tmp_path / "head", tmp_path / "precious"
    home.mkdir()
    precious.mkdir()
    record = {
        "address": "127.0.0.1:9",
        "dashboard": "http://127.0.0.1:9",
        "pid": os.getpid(),
        "created": 1.0,
        "temp_dir": str(precious),
        "token": None,
    }
    (home / "cluster.json").write_text(json.dumps(record))
    done = cluster(["down"], head_env)
    assert (done.returncode, done.stdout) == (0, "no cluster was up\n")
    assert precious.is_dir()
    assert not (home / "cluster.json").exists()
