"""A cluster that `python -m cluster up` started, with a training job on it, and every plug that can be pulled out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from cluster.catalog import DISPATCHER, Catalog, JobRow, State, open_catalog
from cluster.machines.paths import code_root
from cluster.machines.ports import free_ports
from cluster.store import Store
from configs.artifact_ids import parse_ref
from tests.artifacts import hashes, tiny_store
from tests.kills import TRAIN

CPUS = 4


class Up:
    """A home of its own, its cluster, and commands that use it, as a user has them: processes."""

    def __init__(self, folder: Path, model: Path | None = None, train_rows: int = 256, cpus: int = CPUS) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        if model is not None:
            tiny_store(self.home, model, train_rows)
        self.store = Store.open(str(self.home / "store"))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYLENS_"))}
        self.environment = {
            **kept,
            "RAYLENS_HOME": str(self.home),
            "RAYLENS_CPUS": str(cpus),
            "HF_HUB_OFFLINE": "1",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
            "RAY_worker_niceness": "0",  # its workers do not wait for all other tests
        }
        self.nodes: list[Path] = []
        self.shared_at_rest: int | None = None  # bytes of shared memory; unknown until somebody has seen it at rest
        # Its own, and the same after a crash: another cluster on the machine may start at the same moment.
        gcs, dashboard = free_ports(2)
        self.ports = ("--port", str(gcs), "--dashboard-port", str(dashboard))
        self.catalog: Catalog = open_catalog(f"sqlite:///{self.home}/catalog.db")

    def up(self) -> None:
        """Starts the cluster; or again, after it was killed."""
        ran = self.run("cluster", "up", "--no-api", *self.ports)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def join(self, name: str, cpus: int) -> None:
        """Adds a node, as another machine would: with a home of its own and the head's token."""
        head = self.recorded()
        home = self.folder / name
        self.nodes.append(home)
        given = {"RAYLENS_HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": head["token"]}
        ran = self.run("cluster", "join", head["address"], "--num-cpus", str(cpus), environment=given)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def down(self) -> None:
        """Ends it, and the nodes that joined."""
        for home in self.nodes:
            self.run("cluster", "down", environment={"RAYLENS_HOME": str(home)})
        self.run("cluster", "down")

    def recorded(self) -> dict[str, Any]:
        """What `up` wrote down."""
        found: dict[str, Any] = json.loads((self.home / "cluster.json").read_text())
        return found

    def run(
        self, module: str, *arguments: str, timeout: float = 240, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `python -m MODULE ...` to its end."""
        return subprocess.run(
            [sys.executable, "-m", module, *arguments], env={**self.environment, **(environment or {})}, cwd=code_root(),
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """Starts `python -m MODULE ...`."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], env=self.environment, cwd=code_root(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def config(self, name: str, **changes: Any) -> str:
        """Writes the config of a training run on the tiny model; gives its path."""
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps({"stage": "train", **TRAIN, **changes}))
        return str(path)

    def submit(self, config: str, *more: str) -> str:
        """Asks for a job and does not follow it; gives its id."""
        ran = self.run("jobs", "train", "--config", config, "--detach", *more)
        assert ran.returncode == 0, ran.stderr
        answer: dict[str, Any] = json.loads(ran.stdout)
        return str(answer["job"])

    def wait(self, job: str, until: Callable[[JobRow], bool], seconds: float = 120, poll: float = 0.05) -> JobRow:
        """Waits until a job's row is as wanted."""
        deadline = time.monotonic() + seconds
        while not until(row := self.catalog.job(job)):
            assert time.monotonic() < deadline, f"{job} after {seconds} s: {row}"
            time.sleep(poll)
        return row

    def ended(self, job: str, seconds: float = 180) -> JobRow:
        """Waits for a job's end."""
        return self.wait(job, lambda row: not row.live, seconds, 0.2)

    def blocks(self, job: str) -> int:
        """The newest checkpoint of a training job."""
        run = self.catalog.job(job).fingerprint
        found = [self.store.manifest(ref) for ref in self.store.list("checkpoints", run[:8])]
        return max((m.summary["block"] for m in found if m is not None), default=0)

    # -- processes ----------------------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """All processes of the cluster and of nodes that joined it here: workers, drivers and what those started."""
        found = [path for home in self.nodes for path in home.rglob("*.json") if "pid" in path.read_text()]
        catalog = [self.recorded(), *(json.loads(path.read_text()) for path in found)]
        tops = [psutil.Process(record["pid"]) for record in catalog if psutil.pid_exists(record["pid"])]
        return [process for top in tops for process in (top, *top.children(recursive=True))]

    def driver(self, job: str) -> psutil.Process:
        """The process that drives a job now."""
        pid = self.catalog.attempts(job)[-1].pid
        assert pid is not None
        return psutil.Process(pid)

    def find(self, title: str) -> list[psutil.Process]:
        """Processes of the cluster by a part of their command line."""
        return [process for process in self.processes() if title in _title(process)]


def outcome(up: Up, job: str) -> dict[str, dict[str, str]]:
    """Every file's hash of what a job made, once it has ended. Raises AssertionError if it failed or left checkpoints."""
    row = up.ended(job)
    assert row.state == State.SUCCEEDED, f"{job} ended {row.state}: {row.message}"
    left = up.store.list("checkpoints", row.fingerprint[:8], unfinished=True)
    assert not left, f"checkpoints are left: {left}"
    return {ref: hashes(up.store, parse_ref(ref)) for ref in row.outputs}


def pull(up: Up, job: str, plug: str) -> None:
    """Pulls one plug while the job runs, and returns once the job has got over it. Raises AssertionError if it has not.

    Nothing before the last checkpoint is done again: the newest checkpoint never goes back.
    """
    before, attempt = up.blocks(job), up.catalog.job(job).attempt
    victim = PLUGS[plug](up, job)
    if plug == "worker":  # within the attempt: its driver goes on
        up.wait(job, lambda row: not row.live or up.blocks(job) > before)
    elif plug == "dispatcher":  # a job does not depend on who watches it
        deadline = time.monotonic() + 120
        while (lease := up.catalog.lease_row(DISPATCHER)) is None or not lease.held or lease.pid == victim:
            assert time.monotonic() < deadline, "no dispatcher took over"
            time.sleep(0.2)
        assert up.catalog.job(job).attempt == attempt
    else:
        row = up.wait(job, lambda row: row.attempt > attempt)
        assert row.attempt == attempt + 1
    assert up.blocks(job) >= before or not up.catalog.job(job).live, plug


def of_job(up: Up, job: str) -> list[psutil.Process]:
    """The job's driver and what it started, and the workers of any job: tests run one at a time."""
    drives = up.find(f"drive {job} ")
    return drives + [p for p in up.find("ray::") if not any(name in _title(p) for name in STANDING)]


def settled(up: Up, seconds: float) -> list[str]:
    """What is not back to rest after so long: processes, CPUs, shared memory, temporary folders. Empty if all is."""
    deadline = time.monotonic() + seconds
    while left := _unsettled(up):
        if time.monotonic() > deadline:
            return left
        time.sleep(0.5)
    return []


def _unsettled(up: Up) -> list[str]:
    lease = up.catalog.lease_row(DISPATCHER)
    nodes = lease.data["capacity"]["nodes"] if lease is not None else []
    left = [
        f"{node['free_cpus']:g} of {node['cpus']:g} CPUs are free" for node in nodes if node["free_cpus"] < node["cpus"]
    ]
    left += [
        f"process {p.pid}: {_title(p)[:60]}" for p in up.find("ray::") if not any(n in _title(p) for n in STANDING)
    ]
    left += [f"folder {path}" for path in (up.home / "scratch").glob("*")]
    shared = psutil.virtual_memory().shared
    if up.shared_at_rest is not None and shared > up.shared_at_rest + SHARED_SLACK:
        left.append(f"{shared - up.shared_at_rest:,} bytes of shared memory more than before")
    mine = {str(process.pid) for process in up.processes()}
    for path in Path("/tmp").glob("raylens-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and pid not in mine and not psutil.pid_exists(int(pid)):
            left.append(f"folder {path}")
    return left


SHARED_SLACK = 64 << 20  # bytes; the machine's other processes share memory too
# Titles of what stays: the dispatcher, the API, workers that wait for work.
STANDING = (
    "DispatcherActor",
    "IDLE",
    "Serve",
    "Proxy",
    "JobSupervisor",
    "DashboardAgent",
    "RuntimeEnvAgent",
    "TrainStateActor",
)


def _pull_worker(up: Up, job: str) -> int:
    (victim,) = up.find("ray::RayTrainWorker")
    kill(victim)
    return victim.pid


def _pull_driver(up: Up, job: str) -> int:
    victim = up.driver(job)
    kill(victim)
    return victim.pid


def _pull_dispatcher(up: Up, job: str) -> int:
    (victim,) = up.find("ray::DispatcherActor")
    kill(victim)
    return victim.pid


def _pull_head(up: Up, job: str) -> int:
    """gcs_server, raylet and dashboard together, with their parent, as when the power fails; then `up` again."""
    return _restart(up, [psutil.Process(up.recorded()["pid"]), *(p for name in HEAD for p in up.find(name))])


def _pull_raylet(up: Up, job: str) -> int:
    """The head's raylet alone: the rest of the head ends with it; then `up` again."""
    return _restart(up, up.find("raylet/raylet"))


def _restart(up: Up, victims: list[psutil.Process]) -> int:
    left = up.processes()
    assert victims
    for victim in victims:
        kill(victim)
    up.up()
    _, still = psutil.wait_procs(left, timeout=60)
    assert not still, f"left of the cluster that was killed: {[_title(process)[:80] for process in still]}"
    return victims[0].pid


HEAD = ("gcs_server", "raylet/raylet", "dashboard/dashboard.py")
PLUGS: dict[str, Callable[[Up, str], int]] = {
    "worker": _pull_worker,
    "driver": _pull_driver,
    "raylet": _pull_raylet,
    "head": _pull_head,
    "dispatcher": _pull_dispatcher,  # the last: the job goes on meanwhile, and may end
}


def kill(process: psutil.Process) -> None:
    """SIGKILL, by pid and from outside."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""
