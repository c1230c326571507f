"""Connections to Ray: to a temporary cluster that is started for one command, and to one that runs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.machines import ray_environment
from cluster.machines.capacity import local_cpus, local_gpus
from cluster.machines.discover import ClusterTarget, in_ray_job
from cluster.machines.errors import ClusterError
from cluster.machines.orphaned_folders import PREFIX, remove, temporary_orphans
from cluster.machines.paths import code_root
from cluster.machines.ports import answers
from configs.settings import settings

NAMESPACE = "raylens"
_LAST_LINES_S = 0.6  # the last lines of workers are still on their way through Ray's log monitor


def prepare(target: ClusterTarget) -> None:
    """Puts what Ray reads once, when it is imported, into the environment. To be called before anything imports Ray."""
    ray_environment.apply(os.environ)
    if target.temporary:
        ray_environment.apply_temporary(os.environ)
        ray_environment.apply_code(os.environ)
        if "ray" not in sys.modules:  # else it is too late, and Ray's own default stands: a token in ~/.ray
            ray_environment.apply_own_token(os.environ)
    elif target.token is not None:
        ray_environment.apply_token_file(os.environ, target.token)


@contextmanager
def connected(target: ClusterTarget, bring_code: bool = True) -> Iterator[None]:
    """Ray, connected while the block runs: to a cluster started for it and ended with it, or to a running one.

    `bring_code` uploads this checkout to a running cluster; not needed to look at it only.
    """
    prepare(target)
    with _temporary_cluster() if target.temporary else _connected_to(target, bring_code):
        yield


@contextmanager
def _temporary_cluster() -> Iterator[None]:
    """Starts a cluster on this machine and ends it with the block, also on an error.

    If this process is killed hard, its Ray processes end by themselves (Ray ties them to their parent); the folder of
    their logs and sockets is removed by the next command.
    """
    remove(temporary_orphans())
    # Directly under /tmp: a socket's path may have 107 characters, and Ray appends some 70.
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/tmp"))
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=local_cpus(),
            num_gpus=local_gpus(),
            object_store_memory=settings().object_store_bytes,
            include_dashboard=False,
            _temp_dir=str(folder),
            **_driver_options(),
        )
        yield
    finally:
        time.sleep(_LAST_LINES_S)
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _connected_to(target: ClusterTarget, bring_code: bool) -> Iterator[None]:
    """Joins a running cluster for the time of the block. Raises ClusterError if it does not answer."""
    assert target.address is not None
    if target.address != "auto" and not answers(target.address, timeout=5.0):
        raise ClusterError(
            f"no Ray cluster answers at {target.address} ({target.reason}): start one, or unset RAY_ADDRESS"
        )
    import ray

    # A driver that Ray started as a job has the job's working directory already.
    environment: dict[str, Any] = {"runtime_env": runtime_env()} if bring_code and not in_ray_job() else {}
    try:
        ray.init(address=target.address, **environment, **_driver_options())
    except ConnectionError as error:
        raise ClusterError(f"cannot join the Ray cluster at {target.address} ({target.reason}): {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def runtime_env() -> dict[str, Any]:
    """Brings this checkout to the nodes; nothing if RayLens is an installed package, which the nodes have too."""
    return {"working_dir": str(code_root())} if (code_root() / "pyproject.toml").is_file() else {}


def _driver_options() -> dict[str, Any]:
    return {"namespace": NAMESPACE, "log_to_driver": True, "logging_level": "WARNING"}
