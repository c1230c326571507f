"""Starts Ray Train for a task, watches it, and brings its own error out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray.train
from ray.exceptions import RayError
from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import RayTrainError  # no public base: deaths and lost health are these
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

from actors.error_serialization import WorkerError
from actors.pool import WorkersDidNotStart
from actors.progress_channel import ProgressChannel, curve_lengths
from actors.trainer import TrainTask, train_worker
from configs.requirements import Requirement
from sae.language_model.malloc import ENVIRONMENT as KEEP_FREED_MEMORY

# Ray Train retries for ever by default, and cannot tell a worker that died from one that raised. So it retries nothing
# here: a death starts the run again from the last checkpoint, an error ends it.
MAX_DEATHS = 5
MAX_CONTROLLER_FAILURES = 0  # a start that takes too long is an error; the job's next attempt tries again
POLL_S = 1.0

# Read by Ray Train when a run starts. What the user set stays.
_ENVIRONMENT = {
    # A worker group without resources is an error: the default retries for ever. The job was admitted before, so the
    # resources are free at once, or something outside the catalog uses them. Start-up time of workers does not count.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
    # How often workers are polled: the default of 2 s makes short runs wait at both ends, and a shorter interval takes
    # CPU from the workers of a small machine.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    # One actor less: we do not read what it reports, and a preempted worker is a death like any other.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


def fit(
    task: TrainTask,
    scratch: Path,
    update: Callable[[int], None],
    log: Callable[[str], None],
    should_stop: Callable[[], bool],
    saved: Callable[[int], None],
    curves: Callable[[Mapping[str, str]], None] = lambda curves: None,
) -> None:
    """Runs the task to its end, or to a checkpoint once `should_stop()` is true.

    `update(rows)` reports the rows read, `saved(block)` that a checkpoint before that block is in the store,
    `curves(by_sae)` curves that grew, as curve_reports.as_json gives them. Raises what a worker raised, or
    WorkersDidNotStart.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    finished = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(task.channel, finished, update, log, should_stop, saved, curves), daemon=True
    )
    watcher.start()
    try:
        for death in range(MAX_DEATHS + 1):
            try:
                _trainer(task, scratch, death).fit()
                return
            except TrainingFailedError as error:
                cause = _own_error(error)
                if cause is not None:
                    raise cause  # noqa: B904 - its cause is the text that the worker sent
                if should_stop():
                    return
                if isinstance(error, ControllerError):
                    raise WorkersDidNotStart(
                        f"Ray Train could not start {task.requirement.workers} training worker(s) of "
                        f"{task.requirement} in {1 + MAX_CONTROLLER_FAILURES} tries: {_first_line(error)}. Something "
                        "that this catalog does not know of may use the resources: see `ray status`"
                    ) from error
                if death == MAX_DEATHS:
                    raise
                log("a training worker died; going on from the last checkpoint")
    finally:
        finished.set()
        watcher.join()
        task.channel.clear()


class _Trainer(DataParallelTrainer):
    """Ray Train without what does nothing for us: two callbacks and the requests to the autoscaler.

    The cleaner of placement groups is for detached ones; ours end with their job. It searches for Ray itself, finds the
    wrong cluster or none where several share a machine, and fills the log with tracebacks. The one for datasets starts
    an actor, also where there are none.
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [one for one in super()._create_default_callbacks() if not isinstance(one, unused)]

    def _initialize_and_run_controller(self, **given: Any) -> ray.train.Result:
        return super()._initialize_and_run_controller(**{**given, "scaling_policy": _Fixed(self.scaling_config)})


class _Fixed(FixedScalingPolicy):
    """A fixed number of workers, without a detached actor that repeats the request to the autoscaler.

    The worker group's pending placement group is request enough: an autoscaler adds nodes for it as for any other.
    """

    def _send_resource_request(self) -> None:
        return

    def _maybe_send_resource_request(self) -> None:
        return

    def _cancel_resource_request(self) -> None:
        return


def _trainer(task: TrainTask, scratch: Path, death: int) -> _Trainer:
    requirement = task.requirement
    resources = {"CPU": requirement.cpus, "GPU": requirement.gpus, "memory": requirement.memory}
    return _Trainer(
        train_worker,
        train_loop_config={"task": task},
        backend_config=_backend(requirement),
        scaling_config=ray.train.ScalingConfig(
            num_workers=requirement.workers,
            use_gpu=requirement.gpus > 0,
            resources_per_worker={k: v for k, v in resources.items() if v},
            label_selector=requirement.labels or None,
        ),
        run_config=ray.train.RunConfig(
            name=f"train-{task.run}-{task.attempt}-{death}",
            storage_path=str(scratch / "ray"),
            worker_runtime_env={"env_vars": KEEP_FREED_MEMORY},
            # What goes wrong is raised here, once; the controller's own report of it is in Ray's log files.
            logging_config=ray.train.LoggingConfig(log_level="CRITICAL"),
            failure_config=ray.train.FailureConfig(
                max_failures=0, controller_failure_limit=MAX_CONTROLLER_FAILURES, max_preemption_failures=0
            ),
        ),
    )


def _backend(requirement: Requirement) -> BackendConfig:
    """One worker needs no process group, whose thread would wake as often as an actor does."""
    if requirement.workers == 1:
        return BackendConfig()
    return TorchConfig(backend="nccl" if requirement.device == "cuda" else "gloo")


def _watch(
    channel: ProgressChannel,
    finished: threading.Event,
    update: Callable[[int], None],
    log: Callable[[str], None],
    should_stop: Callable[[], bool],
    saved: Callable[[int], None],
    curves: Callable[[Mapping[str, str]], None],
) -> None:
    checkpoint = rows = 0
    lengths: dict[str, int] = {}
    ended = False
    while True:  # reads before it waits: a stop requested during start-up takes effect after the first block
        latest = channel.latest()
        if latest.get("rows", 0) > rows:  # after a death it is behind for a while
            rows = latest["rows"]
            update(rows)
        if latest.get("checkpoint", 0) != checkpoint:
            checkpoint = latest["checkpoint"]
            log(f"checkpoint before block {checkpoint}")
            saved(checkpoint)
        if grown := channel.curves(latest, lengths):
            lengths |= curve_lengths(latest)
            curves(grown)
        if should_stop():
            channel.request_stop()
        if ended:  # it has read the last figures
            return
        ended = finished.wait(POLL_S)


def _own_error(error: TrainingFailedError) -> BaseException | None:
    """The error that a worker's code raised; None if a worker died or Ray Train itself failed."""
    failures = getattr(error, "worker_failures", None) or {}
    causes: list[BaseException] = [failure for _, failure in sorted(failures.items())]
    if not causes or any(isinstance(cause, RayError | RayTrainError) for cause in causes):
        return None
    errors = [WorkerError.of(cause) for cause in causes]
    # A worker that lost its peer in a collective raises a bare RuntimeError; the peer's own error says why.
    return next((error for error in errors if error.name != "RuntimeError"), errors[0]).original()


def _first_line(error: ControllerError) -> str:
    cause = getattr(error, "controller_failure", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
