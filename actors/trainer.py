"""The training worker: Ray Train starts one for each worker, again from the last checkpoint if one dies."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from actors.checkpoints import Checkpoints
from actors.curve_reports import CurveReports
from actors.error_serialization import errors_as_text
from actors.progress_channel import ProgressChannel
from actors.worker_setup import refuse_emulated, set_up, temporary_folder
from cluster.store import Store
from configs.architectures import SaeConfig
from configs.artifact_ids import ArtifactRef
from configs.requirements import Requirement
from configs.train import TrainConfig
from sae.formats.sae_folder import write_sae
from sae.training.batch_plan import Plan
from sae.training.build import TrainingRun, build_run, count_excluded_by_role, count_positions
from sae.training.collectives import Collective, DistributedCollective, LocalCollective
from sae.training.loop import AfterBlock, train
from sae.training.sae_trainer import CurvePoint, SaeTrainer

# Files of a finished SAE, in the order in which they are stored: when the last is there, all are.
LAST_FILE = "metrics.json"
SAE_FILES = (
    "cfg.json", "sae_weights.safetensors", "training.json", "calibration.json", "calibration.safetensors",
    "curves.parquet", LAST_FILE,
)  # fmt: skip


# Settings of a run that training.json has under other names, or not at all.
_ELSEWHERE = ("model", "tokens", "activations", "cache", "grid")


class TrainTask(NamedTuple):
    """What every worker of a run gets. `saes`: number in the config -> artifact; `channel`: where workers report their progress.
    `initial`: SAEs that some start from, by id.

    `model` and `tokens` are None where `cache` holds planted activations.
    `metadata` goes into each SAE's cfg.json, beside its hook.
    """

    config: TrainConfig
    saes: dict[int, ArtifactRef]
    metadata: dict[str, Any]
    model: ArtifactRef | None
    tokens: ArtifactRef | None
    cache: ArtifactRef | None
    store: Store
    run: str
    attempt: int
    requirement: Requirement
    channel: ProgressChannel
    initial: dict[str, ArtifactRef] = {}  # noqa: RUF012 a named tuple's default, which nothing changes


@errors_as_text
def train_worker(settings: dict[str, TrainTask]) -> None:
    """Entry point for Ray Train. SAEs that it finishes are put into the store as parts; the driver publishes them."""
    task = settings["task"]
    set_up(task.requirement)
    refuse_emulated(task.requirement, task.config.autocast, *([] if task.cache else [task.config.lm_dtype]))
    collective = _collective()
    device = _device(task.requirement)
    with temporary_folder() as folder:
        run_task(task, collective, device, Path(folder))


def run_task(task: TrainTask, collective: Collective, device: str, scratch: Path) -> None:
    """Trains the SAEs of the task that are this worker's, from the last checkpoint on."""
    store = task.store
    run = build_run(
        task.config,
        sorted(task.saes),
        None if task.model is None else store.files(task.model),
        None if task.tokens is None else store.files(task.tokens),
        None if task.cache is None else store.files(task.cache),
        collective,
        device,
        {name: store.files(ref) for name, ref in task.initial.items()},
    )
    checkpoints = Checkpoints(store, task.run, task.attempt, scratch)
    sae_ids = [ref.id for ref in task.saes.values()]
    # One worker chooses it, so that all load the same one.
    checkpoint = collective.broadcast(checkpoints.latest(sae_ids) if collective.rank == 0 else None)
    if checkpoint is not None:
        for number, trainer in run.trainers.items():
            trainer.load_state(checkpoints.load(checkpoint, task.saes[number].id))
    first_block = 0 if checkpoint is None else checkpoint.block
    clock = _Clock(task, run.plan, first_block, max(run.ends))

    def save(block: int) -> None:
        files = [checkpoints.put(block, task.saes[i].id, trainer.state()) for i, trainer in run.trainers.items()]
        every = collective.all_gather(files)
        if collective.rank == 0:
            checkpoints.commit(block, [file for part in every for file in part])
            clock.saved(block)

    curves = CurveReports(task.channel, run.trainers, {number: ref.id for number, ref in task.saes.items()})

    def on_step(step: int) -> None:
        if collective.rank == 0:
            clock.on_step(step)
        curves.after_step()

    finished = train(run, collective, first_block, on_step, clock.after_block, save)
    if finished:
        ends = {trainer.step_number for trainer in run.trainers.values()}
        by_role = {steps: count_excluded_by_role(run, task.config.policy, steps) for steps in ends}
        for number, trainer in run.trainers.items():
            _put_sae(task, run, number, trainer, by_role[trainer.step_number], scratch / task.saes[number].id)
    collective.all_gather(None)


class _Clock:
    """The first worker's clock: reports progress, and decides on checkpoints and stops."""

    def __init__(self, task: TrainTask, plan: Plan, first_block: int, steps: int) -> None:
        self._task, self._plan = task, plan
        self._saved_block, self._saved_time = first_block, time.monotonic()
        self._reported = 0.0
        self._steps = steps

    def on_step(self, step: int) -> None:
        now = time.monotonic()
        if now - self._reported < 1.0 and step + 1 < self._steps:
            return
        self._reported = now
        self._task.channel.report("rows", (step + 1) * self._plan.batch_rows)

    def after_block(self, next_block: int) -> AfterBlock:
        runtime = self._task.config.runtime
        due = next_block - self._saved_block >= runtime.checkpoint_blocks
        due = due and time.monotonic() - self._saved_time >= runtime.checkpoint_seconds
        return AfterBlock(due, self._task.channel.stop_requested())

    def saved(self, block: int) -> None:
        self._saved_block, self._saved_time = block, time.monotonic()
        self._task.channel.report("checkpoint", block)


def _put_sae(
    task: TrainTask, run: TrainingRun, number: int, trainer: SaeTrainer, by_role: dict[str, int], folder: Path
) -> None:
    config, curve = trainer.config, trainer.curve()
    positions = int(sum(point.tokens for point in curve))
    # What names the SAE, and nothing else: equal SAEs have equal files, however their inputs were referred to and
    # however activations reached the loop (a stream and an fp32 cache give the same).
    science = {k: v for k, v in task.config.science().items() if k not in _ELSEWHERE}
    planted = task.tokens is None
    training = {
        "config": {**science, "saes": [config.model_dump(mode="json")], "reads": task.config.reads()},
        "inputs": {"activations": str(task.cache)}
        if planted
        else {"model": str(task.model), "tokens": str(task.tokens)},
        "positions": count_positions(run, by_role, positions, trainer.step_number),
        "steps": trainer.step_number,
        "stopped_early": trainer.held_out.stopped,
    }
    metadata = {
        **task.metadata,
        **_hook_names(config, run.module_paths),
        "raylens": {**task.metadata["raylens"], "target_l0": config.target_l0},
    }
    files = write_sae(
        folder, config.architecture, trainer.export(), metadata, trainer.calibration, training, *trainer.others
    )
    columns = {name: [getattr(point, name) for point in curve] for name in CurvePoint._fields}
    pq.write_table(pa.table(columns), folder / "curves.parquet", compression="zstd")
    # A last step without a data position has no figures.
    last = {name: value if math.isfinite(value) else None for name, value in curve[-1]._asdict().items()}
    last["data_positions"] = positions
    (folder / LAST_FILE).write_text(json.dumps(last, indent=2, sort_keys=True) + "\n")
    for name in (*(set(files) - set(SAE_FILES)), *SAE_FILES):
        extra = last if name == LAST_FILE else {}
        task.store.put(task.saes[number], task.attempt, name, folder / name, extra=extra, part=True)


def _hook_names(config: SaeConfig, module_paths: dict[str, str]) -> dict[str, Any]:
    """What the metadata of an SAE says of its hooks. A crosscoder's `hook_name` is the name of no hook."""
    first, *others = config.all_hooks()
    if config.is_crosscoder:
        names = [first, *others]
        return {"hook_name": config.place, "hook_names": names, "hf_hook_names": [module_paths[one] for one in names]}
    found = {"hook_name": first, "hf_hook_name": module_paths[first]}
    return {**found, "hook_name_out": others[0]} if others else found


def _collective() -> Collective:
    import ray.train

    workers = ray.train.get_context().get_world_size()
    return LocalCollective() if workers == 1 else DistributedCollective()


def _device(requirement: Requirement) -> str:
    if requirement.device == "cpu":
        return "cpu"
    import ray.train.torch

    return str(ray.train.torch.get_device())
