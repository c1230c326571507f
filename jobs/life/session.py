"""What one command has: the store, the catalog, its cluster (joined or started when first needed) and a stop flag."""

from __future__ import annotations

import getpass
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from cluster.machines.discover import Place, discover
from cluster.machines.home import raylens_home
from cluster.machines.own import connected, prepare
from cluster.records import Records, open_records
from cluster.store import Store
from configs.profiles import Profile, load_profile
from configs.requirements import Offer
from jobs.life.resolve import Planner
from jobs.life.signals import StopFlag, install

DEFAULT_WAIT = 600.0
RAY_JOB = "RAYLENS_RAY_JOB"  # in the environment of a stage that runs as a Ray job: which one


class Session:
    """Opened for one command, closed at its end. Ray starts when `offer` is first asked for, and not before."""

    def __init__(
        self,
        profile: str = "auto",
        wait: float = DEFAULT_WAIT,
        stop: StopFlag | None = None,
        store: Store | None = None,
        records: Records | None = None,
        place: Place | None = None,
    ) -> None:
        self.profile_name = profile
        self.wait = wait
        self.stop = stop or StopFlag()
        self.store = store or Store.open()
        self.records = records or open_records()
        self.place = place or discover()
        prepare(self.place)
        self.planner = Planner()
        self.home: Path = raylens_home()
        self.user = _user()
        self._open = ExitStack()
        self._connected = False
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
            self._open.enter_context(connected(self.place))
        self._connected = True
        if self.stop.installed and threading.current_thread() is threading.main_thread():
            install(self.stop)  # ray.init puts its own handler on SIGTERM

    def say(self, message: str) -> None:
        """One line for people, on standard error."""
        print(message, file=sys.stderr, flush=True)

    def offer(self) -> Offer:
        """What the cluster and the store offer now."""
        from cluster.machines.offer import offer

        self.connect()
        return offer(self.store.free_bytes())

    @property
    def cluster(self) -> str:
        """Names the cluster in rows, so that grants on another one, or on an earlier one there, do not count."""
        if not self._connected:
            return self.place.address or f"own:{os.getpid()}"
        import ray

        return str(ray.get_runtime_context().get_session_name())

    @property
    def profile(self) -> Profile:
        """The resource profile. `auto` asks a running cluster for GPUs, and this machine where none runs."""
        if self._profile is None:
            self._profile = load_profile(self.profile_name, self.profile_name == "auto" and self._has_gpu())
        return self._profile

    def _has_gpu(self) -> bool:
        from cluster.machines.offer import cluster_has_gpu, local_gpus

        if self.place.own:
            return local_gpus() > 0
        self.connect()
        return cluster_has_gpu()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
