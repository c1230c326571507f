"""Work that the running cluster (4 CPUs) cannot schedule: `python -m tests.cluster.unschedulable CASE ...` says how each case
ended, in a line of JSON."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.machines.connection import connected
from cluster.machines.discover import discover
from configs.requirements import Requirement

GPU = Requirement(cpus=1, gpus=1)
LABELLED = Requirement(cpus=1, labels={"zone": "nowhere"})
TOO_MANY = Requirement(workers=2, cpus=3)


class DidNotEnd(RuntimeError):
    """It was still pending when the time was over."""


def task() -> None:
    """A task that wants a GPU."""
    import ray

    @ray.remote(num_cpus=1, num_gpus=1)
    def compute() -> None: ...

    ray.get(compute.remote(), timeout=60)


def actor() -> None:
    """An actor that wants a node with a label that none has."""
    import ray

    @ray.remote(num_cpus=1, label_selector=LABELLED.labels)
    class Worker:
        def ready(self) -> None: ...

    ray.get(Worker.remote().ready.remote(), timeout=60)


def data() -> None:
    """A map of Ray Data over actors with a GPU."""
    import ray

    class Identity:
        def __call__(self, batch: Any) -> Any:
            return batch

    ray.data.range(8).map_batches(
        Identity, batch_size=4, num_gpus=1, compute=ray.data.ActorPoolStrategy(size=1)
    ).materialize()


def ray_job() -> None:
    """A Ray job whose driver wants a GPU."""
    from ray.job_submission import JobSubmissionClient

    target = discover()
    client = JobSubmissionClient(target.dashboard)
    job = client.submit_job(entrypoint="true", entrypoint_num_cpus=1, entrypoint_num_gpus=1)
    while not (info := client.get_job_info(job)).status.is_terminal():
        time.sleep(0.2)
    raise RuntimeError(f"{info.status}: {info.message}")


def serve_replica() -> None:
    """A replica that wants a GPU."""
    from ray import serve

    replica = serve.deployment(
        type("Model", (), {"__call__": lambda self: None}),
        ray_actor_options={"num_gpus": 1},
        max_constructor_retry_count=1,  # each takes some 6 s to be found impossible
    )
    try:
        serve.run(replica.bind(), name="model", route_prefix=None)
    except RuntimeError as error:
        states = serve.status().applications["model"]
        raise RuntimeError(f"{states.status}: {states.deployments['Model'].message}") from error
    finally:
        serve.delete("model")


def train() -> None:
    """Training workers of which each fits alone, but not both: Ray Train's placement group never comes."""
    from actors.progress_channel import ProgressChannel
    from actors.train_launcher import fit
    from actors.trainer import TrainTask

    channel: Any = ProgressChannel.open("t")
    nothing: Any = None  # no worker ever reads it
    run = TrainTask(nothing, {}, {}, nothing, nothing, None, nothing, "t", 1, TOO_MANY, channel)
    with tempfile.TemporaryDirectory() as folder:
        fit(run, Path(folder), lambda rows: None, print, lambda: False, lambda block: None)


# What runs, what it needs, and what it imports.
CASES: dict[str, tuple[Callable[[], None], Requirement, str]] = {
    "task": (task, GPU, "ray"),
    "actor": (actor, LABELLED, "ray"),
    "data": (data, GPU, "ray.data"),
    "ray_job": (ray_job, GPU, "ray.job_submission"),
    "serve_replica": (serve_replica, GPU, "ray.serve"),
    "train": (train, TOO_MANY, "actors.train_launcher"),
}


def result(name: str) -> dict[str, object]:
    """Runs one case. Gives what it raised, and how the product explains it."""
    from cluster.machines.capacity import cluster_capacity
    from cluster.machines.scheduling_messages import explain

    run, requirement, module = CASES[name]
    importlib.import_module(module)
    try:
        run()
    except Exception as error:  # noqa: BLE001 - which it is, the test looks at
        explained = explain(error, requirement, cluster_capacity())
        return {
            "case": name,
            "error": type(error).__name__,
            "message": str(error),
            "explained": explained,
        }
    return {"case": name, "error": None}


if __name__ == "__main__":
    with connected(discover(), bring_code=False):
        for case in sys.argv[1:]:
            print(json.dumps(result(case)), flush=True)
