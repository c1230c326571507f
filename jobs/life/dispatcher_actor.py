"""The dispatcher as an actor of the cluster that `python -m cluster up` started: detached, without a CPU, started again if
it dies.

    python -m jobs dispatcher --start    # what `up` calls: returns once it grants

"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from typing import Any

from cluster.catalog import DISPATCHER, ENDED, Catalog, CatalogError, open_catalog
from cluster.machines.connection import NAMESPACE, connected
from cluster.machines.discover import discover
from cluster.machines.errors import ClusterError

NAME = "raylens-dispatcher"
TICK_S = 1.0
SWEEP_S = 20.0


class DispatcherActor:
    """Makes a pass each second, in a thread of its own, for as long as its cluster lives."""

    def __init__(self, address: str, dashboard: str) -> None:
        import ray

        self._session = str(ray.get_runtime_context().get_session_name())
        self._endpoints = (address, dashboard)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{self._session}"
        threading.Thread(target=self._run, name="raylens-dispatcher", daemon=True).start()

    def name(self) -> str:
        """The name that its lease bears."""
        return self._name

    def _run(self) -> None:
        while True:
            try:
                self._dispatch_forever()
            except Exception:  # noqa: BLE001 - a database that was away may be back: it must never end
                _log(traceback.format_exc())
                time.sleep(TICK_S)

    def _dispatch_forever(self) -> None:
        from cluster.machines.autoscaler import request_nodes
        from cluster.machines.capacity import cluster_capacity
        from cluster.machines.job_metrics import JobMetrics
        from cluster.machines.orphaned_folders import remove
        from cluster.machines.paths import raylens_home
        from cluster.store import Store
        from jobs.life.dispatcher import Cluster, Dispatcher
        from jobs.life.driver_setup import orphans
        from jobs.life.ray_job_launcher import RayJobLauncher

        address, dashboard = self._endpoints
        store, metrics, swept = Store.open(), JobMetrics(), 0.0
        launcher = RayJobLauncher(dashboard, self._session)
        cluster = Cluster(self._session, address, dashboard, cluster_capacity, request_nodes)
        with open_catalog() as catalog:
            dispatcher = Dispatcher(catalog, cluster, launcher, self._name, store)
            outcomes = EndedAttempts(catalog)
            while True:
                began = time.monotonic()
                try:
                    metrics.update(dispatcher.tick())
                    for stage, outcome in outcomes.new():
                        metrics.ended(stage, outcome)
                except (CatalogError, OSError) as error:  # a full disk, a busy database: the next pass may succeed
                    _log(f"{error}\n")
                if began - swept > SWEEP_S:
                    swept = began
                    remove(orphans(raylens_home()))
                time.sleep(max(0.05, TICK_S - (time.monotonic() - began)))


class EndedAttempts:
    """Attempts that ended since this was made, each once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog, self._after = catalog, catalog.last_change()

    def new(self) -> list[tuple[str, str]]:
        """The stage and the state of each that ended since the last call."""
        found = []
        while events := self._catalog.changes(self._after):
            self._after = events[-1].seq
            ended = (event for event in events if event.kind == "state" and event.state in ENDED)
            found += [(event.job_id.rpartition("-")[0], str(event.state)) for event in ended]
        return found


def start_dispatcher(wait: float = 60.0) -> str:
    """Starts the dispatcher of the cluster that `up` started, or finds it. Returns once it grants.

    Raises ClusterError if there is no such cluster, or if the dispatcher does not come up.
    """
    target = discover()
    if target.temporary or target.dashboard is None:
        raise ClusterError("there is no cluster that `python -m cluster up` started: a dispatcher needs one")
    with connected(target, bring_code=False):
        import ray

        actor: Any = (
            ray.remote(DispatcherActor)
            .options(
                name=NAME,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=4,
            )
            .remote(target.address, target.dashboard)
        )
        name = str(ray.get(actor.name.remote(), timeout=wait))
        deadline = time.monotonic() + wait
        with open_catalog() as catalog:
            while time.monotonic() < deadline:
                row = catalog.lease_row(DISPATCHER)
                if row is not None and row.holder == name:
                    return name
                time.sleep(0.2)
    raise ClusterError(f"the dispatcher did not take its lease within {wait:.0f} s; see {_log_path()}")


def _log_path() -> str:
    from cluster.machines.paths import raylens_home

    folder = raylens_home() / "logs"
    folder.mkdir(exist_ok=True)
    return str(folder / "dispatcher.log")


def _log(text: str) -> None:
    try:
        with open(_log_path(), "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")
    except OSError:
        print(text, flush=True)
