"""What one command uses: the store, the catalog, its cluster (joined or started when first needed) and a stop flag."""

from __future__ import annotations

import getpass
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from cluster.catalog import Catalog, open_catalog
from cluster.machines.connection import connected, prepare
from cluster.machines.discover import ClusterTarget, discover
from cluster.machines.paths import raylens_home
from cluster.store import Store
from configs.requirements import Capacity
from configs.resource_profiles import Profile, load_profile
from jobs.life.driver_setup import StopFlag, install
from jobs.life.planner import Planner

LOCAL_WAIT_S, DISPATCHED_WAIT_S = 600.0, 86_400.0  # for a command that waits with its job, and for a row alone


class Session:
    """Opened for one command, closed at its end. Ray starts with the first attempt that runs in this process, and not before."""

    def __init__(
        self,
        profile: str = "auto",
        wait: float | None = None,
        stop: StopFlag | None = None,
        store: Store | None = None,
        catalog: Catalog | None = None,
        target: ClusterTarget | None = None,
    ) -> None:
        self.profile_name = profile
        self._wait = wait
        self.stop = stop or StopFlag()
        self.store = store or Store.open()
        self.catalog = catalog or open_catalog()
        self.target = target or discover()
        prepare(self.target)
        self.planner = Planner()
        self.home: Path = raylens_home()
        self.user = _user()
        self._open = ExitStack()
        self._connected = self._open_here = False
        self._profile: Profile | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def connect(self) -> None:
        """Connects to the cluster, once."""
        if self._connected:
            return
        import ray

        if not ray.is_initialized():  # it is where the session lives in a program that uses Ray already
            self._open.enter_context(connected(self.target))
            self._open_here = True
        self._connected = True
        if self.stop.installed and threading.current_thread() is threading.main_thread():
            install(self.stop)  # ray.init puts its own handler on SIGTERM

    def leave(self) -> None:
        """Disconnects, and returns once the processes that worked for this one are gone."""
        if not self._connected:
            return
        from cluster.machines.worker_processes import actors_here, wait_gone

        working = actors_here()
        self._open.close()
        if self._open_here:
            wait_gone(working)
        self._connected = False

    def say(self, message: str) -> None:
        """One line for people, on standard error."""
        print(message, file=sys.stderr, flush=True)

    def capacity(self) -> Capacity:
        """What the cluster and the store have now; of a cluster of its own that is not started yet, what it would have."""
        from cluster.machines.capacity import cluster_capacity, local_capacity

        if self.target.temporary and not self._connected:
            return local_capacity(self.store.free_bytes())
        self.connect()
        return cluster_capacity(self.store.free_bytes())

    @property
    def cluster(self) -> str:
        """Names the cluster in rows, so that grants on another one, or on an earlier one there, do not count."""
        if self.target.temporary:
            return f"own:{os.getpid()}"
        import ray

        self.connect()

        return str(ray.get_runtime_context().get_session_name())

    @property
    def wait(self) -> float:
        """Seconds that a job may wait for machines."""
        if self._wait is not None:
            return self._wait
        return DISPATCHED_WAIT_S if self.dispatched else LOCAL_WAIT_S

    @property
    def dispatched(self) -> bool:
        """True if the cluster has a dispatcher that admits rows: then this process only submits, and follows.

        A cluster that `up` did not start has none, and neither has one of this command's own.
        """
        from cluster.catalog import DISPATCHER

        if self.target.temporary or self.target.dashboard is None:
            return False
        row = self.catalog.lease_row(DISPATCHER)
        return row is not None and row.data.get("address") == self.target.address

    @property
    def profile(self) -> Profile:
        """The resource profile. `auto` asks a running cluster for GPUs, and this machine where none runs."""
        if self._profile is None:
            self._profile = load_profile(self.profile_name, self.profile_name == "auto" and self._has_gpu())
        return self._profile

    def _has_gpu(self) -> bool:
        from cluster.machines.capacity import cluster_has_gpu, local_gpus

        if self.target.temporary:
            return local_gpus() > 0
        self.connect()
        return cluster_has_gpu()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
