"""Fixtures that several folders share. Each starts what it gives on the first test that asks for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from cluster.machines.ray_environment import apply_temporary
from tests.ordering import (  # noqa: F401 - hooks
    at_end_of_group,
    pytest_addoption,
    pytest_collection,
    pytest_collection_modifyitems,
    pytest_runtest_logreport,
    pytest_runtest_teardown,
    pytest_sessionfinish,
    pytest_xdist_make_scheduler,
)

if TYPE_CHECKING:
    from tests.running_cluster import RunningCluster

REPOSITORY = Path(__file__).resolve().parent.parent

# Before anything imports Ray, transformers or tokenizers.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_enable_autoscaler_v2"] = "1"  # noqa: SIM112
os.environ["RAY_enable_infeasible_task_early_exit"] = "1"  # noqa: SIM112
os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"  # each run waits for one at both ends
# At their niceness of 15 Ray's workers, for which the longest groups wait, would give way to all other tests.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # in tiny models threads wait for one another far longer than they work
if not Path("/dev/nvidia0").exists():
    os.environ.setdefault(
        "TRITON_INTERPRET", "1"
    )  # read when torch or transformers first import Triton, if it is there
apply_temporary(os.environ)  # as a command's own cluster: Ray's processes take a third less of the cores


# How long an example takes says nothing on a machine that other tests share.
hypothesis.settings.register_profile("raylens", deadline=None)
hypothesis.settings.load_profile("raylens")


@pytest.fixture(scope="session")
def tiny_gpt2(pytestconfig: pytest.Config) -> Path:
    """Folder of a trained tiny GPT-2 with its tokenizer (see tests/tiny_model.py). Read only: never write into it."""
    from tests.tiny_model import cached

    cache = getattr(pytestconfig, "cache", None)
    root = Path(cache.mkdir("raylens")) if cache is not None else Path(tempfile.gettempdir()) / "raylens-tests"
    return cached(root)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """A Ray cluster of 4 logical CPUs in this process; gives its address. Stopped at the end of the session."""
    import ray

    # Workers inherit this process's environment; they must find the repository's packages.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    # Ray's socket paths must stay below 107 characters, so not under pytest's own temporary folder.
    temp = tempfile.mkdtemp(prefix="rl", dir="/tmp")
    context = ray.init(address="local", num_cpus=4, include_dashboard=False, _temp_dir=temp)
    at_end_of_group("ray_cluster", ray.shutdown)  # its processes are never quite idle
    try:
        yield str(context.address_info["gcs_address"])
    finally:
        ray.shutdown()
        shutil.rmtree(temp, ignore_errors=True)


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[RunningCluster]:
    """A cluster of 4 logical CPUs that `python -m cluster up` started, with dispatcher and HTTP API, for tests to share.

    Tests must not stop it, nor count on what else is on it.
    """
    from tests.running_cluster import RunningCluster

    # Directly under /tmp: a socket's path may have 107 characters.
    home = Path(tempfile.mkdtemp(prefix="rlup", dir="/tmp"))
    cluster = RunningCluster(home)
    at_end_of_group("running_cluster", cluster.down)  # while it is up it takes a seventh of a core
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(home, ignore_errors=True)
