"""A cluster that `python -m cluster up` started, with its dispatcher and its HTTP API, and commands that use it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil

from cluster.catalog import Catalog, open_catalog
from cluster.machines.paths import code_root
from cluster.machines.ports import free_ports
from cluster.store import Store

CPUS = 4


class RunningCluster:
    """A home of its own and its cluster. Commands are processes, as a user has them; `token` is one of the API's."""

    def __init__(self, home: Path, cpus: int = CPUS) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYLENS_"))}
        self.environment = {
            **kept,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "RAYLENS_HOME": str(home),
            "RAYLENS_CPUS": str(cpus),
            "HF_HUB_OFFLINE": "1",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
            "RAY_worker_niceness": "0",  # its workers do not wait for all other tests
        }
        self.port, gcs, dashboard = free_ports(3)
        self.ports = ("--port", str(gcs), "--dashboard-port", str(dashboard), "--api-port", str(self.port))
        self.url = f"http://127.0.0.1:{self.port}"
        self.catalog: Catalog = open_catalog(f"sqlite:///{home}/catalog.db")
        self.store = Store.open(str(home / "store"))
        self.token = ""
        self.code = ""  # of the link that `up` printed, which signs in a browser
        self.exports: dict[str, str] = {}  # what `up` says that a shell must export for `ray job submit`

    def up(self) -> None:
        """Starts it."""
        ran = self.run("cluster", "up", *self.ports)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        self.exports = dict(re.findall(r"^  export (\w+)=(.*)$", ran.stdout, re.M))
        self.code = ran.stdout.split(f"{self.url}/sign-in#")[1].split()[0]
        assert (self.home / "token").read_text() not in ran.stdout + ran.stderr
        created = self.run("serve_app", "token", "create", "tests", "--scope", "write")
        assert created.returncode == 0, created.stderr
        self.token = created.stdout.strip()

    def down(self) -> None:
        """Ends it. Raises AssertionError if a process, a folder or a record of it is left."""
        self.catalog.close()
        record = self.home / "cluster.json"
        if not record.exists():
            return
        folder = Path(json.loads(record.read_text())["temp_dir"])
        processes = self.processes()
        assert len(processes) > 3
        ran = self.run("cluster", "down")
        assert ran.returncode == 0, ran.stderr
        left = [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert not left, [p.cmdline() for p in left]
        assert not folder.exists()
        assert not record.exists()

    def address(self) -> str:
        """HOST:PORT of its head."""
        return str(json.loads((self.home / "cluster.json").read_text())["address"])

    def head_pid(self) -> int:
        """The process that all of its processes are below."""
        return int(json.loads((self.home / "cluster.json").read_text())["pid"])

    def processes(self) -> list[psutil.Process]:
        """All of its processes."""
        head = psutil.Process(self.head_pid())
        return [head, *head.children(recursive=True)]

    def run(
        self, module: str, *arguments: str, timeout: float = 240, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `python -m MODULE ...` to its end."""
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**self.environment, **(environment or {})},
            cwd=code_root(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
