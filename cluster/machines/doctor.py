"""Which cluster you have, what recovers jobs on it, and what would stop a job before it starts."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from cluster.machines.connection import connected
from cluster.machines.discover import ClusterTarget
from cluster.machines.paths import raylens_home
from configs.requirements import Capacity, FitResult, Requirement, fit
from configs.resource_profiles import Profile, load_profile

LOW_BYTES = 5 << 30
_PACKAGES = ("ray", "torch", "transformers", "pyarrow", "pydantic", "sqlalchemy")


class ClusterState(NamedTuple):
    """What a cluster has."""

    capacity: Capacity
    session: str  # Ray's name of this run of the cluster; empty for one that a command would start


def cluster_state(target: ClusterTarget, store_free: int | None = None) -> ClusterState:
    """Nodes of the running cluster, or of a temporary one as it would be. Raises ClusterError."""
    from cluster.machines.capacity import cluster_capacity, local_capacity

    if target.temporary:
        return ClusterState(local_capacity(store_free), "")
    with connected(target, bring_code=False):
        import ray

        return ClusterState(cluster_capacity(store_free), str(ray.get_runtime_context().get_session_name()))


def describe(target: ClusterTarget) -> str:
    """One sentence on the cluster that a command would use."""
    if target.temporary:
        return f"each command starts a cluster of its own on this machine, and ends it ({target.reason})"
    return f"commands use the cluster at {target.address} ({target.reason})"


def recovery(target: ClusterTarget) -> str:
    """One sentence on who goes on with a job whose process or machine died."""
    if target.head is not None:
        return (
            "a job that dies goes on from its last checkpoint by itself; so do all after a crash of the head and `up`"
        )
    return "only when you run the same command again. On a cluster of `python -m cluster up`, jobs go on by themselves"


def stages(
    capacity: Capacity, name: str, admitted: Mapping[str, Requirement]
) -> tuple[Profile, str, dict[str, FitResult]]:
    """How each stage of a profile stands to the capacity, and which profile that is, for `auto` with the reason.

    `admitted`: requirements of admitted jobs, by their names.
    """
    from cluster.machines.capacity import has_gpu

    gpu = has_gpu(capacity)
    profile = load_profile(name, gpu)
    because = f"there is {'a' if gpu else 'no'} GPU"
    title = name if name != "auto" else f"auto, which is {'gpu' if gpu else 'local'} here: {because}"
    return (
        profile,
        title,
        {stage: fit(requirement, capacity, admitted) for stage, requirement in profile.stages.items()},
    )


def checks(check_store: Callable[[], tuple[str, int | None]]) -> Iterator[tuple[bool, str]]:
    """One (fine, finding) for each check of this machine. The store's is passed in: the machines know nothing of it.

    It gives the store's URL and free bytes, and raises if the store cannot be written.
    """
    yield sys.version_info >= (3, 11), f"Python {platform.python_version()} (3.11 or newer)"
    yield _packages()
    yield _writable("RAYLENS_HOME", raylens_home())
    free = shutil.disk_usage(raylens_home()).free
    yield free >= LOW_BYTES, f"RAYLENS_HOME has {free / 2**30:.1f} GiB free (5 GiB or more is comfortable)"
    try:
        url, store = check_store()
    except (OSError, RuntimeError, ValueError) as error:
        yield False, f"store: {error}"
    else:
        room = "free space unknown" if store is None else f"{store / 2**30:.1f} GiB free"
        yield store is None or store >= LOW_BYTES, f"store {url}: writable, {room}"
    shm = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    yield shm >= 256 << 20, f"/dev/shm has {shm / 2**20:.0f} MiB free (Ray's object store lives there; 256 or more)"


def _packages() -> tuple[bool, str]:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return False, f"{', '.join(missing)}: not installed; run `make`"
    return True, ", ".join(found)


def _writable(what: str, folder: Path) -> tuple[bool, str]:
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            return True, f"{what} is {folder}, writable"
    except OSError as error:
        return False, f"{what} is {folder}: {error.strerror or error} (user {os.getuid()})"
