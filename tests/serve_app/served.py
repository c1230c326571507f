"""The API under Ray Serve on a cluster of its own, in a process of its own. For tests, cases and measurements.

python -m tests.serve_app.served HOME STORE    serves until its standard input ends; prints the URL when it answers
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from cluster.catalog import Catalog, open_catalog
from cluster.machines import ray_environment
from cluster.machines.ports import free_ports
from cluster.machines.ray_environment import SERVE
from configs.requirements import Capacity, Node, to_json
from serve_app.security.tokens import Tokens
from tests.serve_app.sample_artifacts import SampleArtifacts, make_samples
from tests.tiny_model import cached

REPOSITORY = Path(__file__).resolve().parents[2]
# What the dispatcher of a small machine would have written.
CAPACITY = Capacity((Node(2, 0, 4 << 30, {"raylens.io/role": "head"}, 2, 0, 4 << 30),), 50 << 30)
REPLICA = "ray::ServeReplica:api:Api"


class Served(NamedTuple):
    """A running API. `process` is the one that serves; Ray's are below it."""

    url: str
    home: Path
    catalog: Catalog
    samples: SampleArtifacts
    token: str
    process: psutil.Process

    def pids(self, title: str = REPLICA) -> list[int]:
        """Processes of its Ray whose title begins so."""
        found = []
        for child in self.process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if (child.cmdline() or [""])[0].startswith(title):
                    found.append(child.pid)
        return sorted(found)

    def ready(self) -> list[int]:
        """Replicas that have opened the catalog: the last thing before they answer."""
        return [pid for pid in self.pids() if self._has_catalog(pid)]

    def _has_catalog(self, pid: int) -> bool:
        try:
            return any(file.path == str(self.home / "catalog.db") for file in psutil.Process(pid).open_files())
        except psutil.NoSuchProcess:
            return False


@contextmanager
def served(samples: SampleArtifacts, replicas: int = 2) -> Iterator[Served]:
    """Starts Ray, Serve and both applications; ends them. Nobody grants jobs there: they stay QUEUED."""
    home = Path(tempfile.mkdtemp(prefix="rlserve", dir="/tmp"))
    (home / "data").mkdir()
    (home / "data" / "a.txt").write_text("one document\n")
    with open_catalog(f"sqlite:///{home}/catalog.db") as catalog:
        samples.record(catalog)
        catalog.lease("dispatcher", "nobody", {"cluster": "here", "capacity": to_json(CAPACITY)})
        _, token = Tokens(home).create("tester", ["write"])
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve_app.served", str(home), samples.store.url, str(replicas)],
            cwd=REPOSITORY, env=_environment(home, samples.store.url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the API did not start under Serve"
            yield Served(json.loads(line)["url"], home, catalog, samples, token, psutil.Process(process.pid))
        finally:
            process.communicate(timeout=90)
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def temporary_samples() -> Iterator[SampleArtifacts]:
    """A samples in a folder of its own, outside pytest."""
    import pytest

    root = Path(tempfile.mkdtemp(prefix="raylens-samples-"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            yield make_samples(root, cached(Path(tempfile.gettempdir()) / "raylens-tests"), patch)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> float:
    """Waits until `true()`; gives the seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - began


def _environment(home: Path, store: str) -> dict[str, str]:
    own = {
        "RAYLENS_HOME": str(home), "RAYLENS_STORE": store, "RAYLENS_CACHE": str(home / "cache"),
        "RAY_AUTH_MODE": "disabled", "RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAYLENS_DATA_ROOTS")}
    ray_environment.apply(kept)  # as `python -m cluster up` does
    return {**kept, **SERVE, **own}


def _serve(home: Path, replicas: int) -> None:
    import ray
    from ray import serve

    from serve_app.deployment import API, INTERACTIVE, Arguments, LanguageModelArguments, api, interactive

    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    (port,) = free_ports(1)
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, _temp_dir=str(home / "ray"), log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    try:
        serve.start(
            proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": None}
        )
        serve.run(api(Arguments(port=port, replicas=replicas, anywhere=True)), name=API, route_prefix="/")
        serve.run(interactive(LanguageModelArguments(anywhere=True)), name=INTERACTIVE, route_prefix=None)
        answer.write(json.dumps({"url": f"http://127.0.0.1:{port}"}) + "\n")
        answer.close()
        sys.stdin.read()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[3]))
