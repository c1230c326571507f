"""The training worker: Ray Train starts one for each worker, again from the last checkpoint if one dies."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from actors.checkpoints import Checkpoints
from actors.progress_channel import ProgressChannel
from actors.worker_setup import set_up, temporary_folder
from cluster.store import Store
from configs.identity import ArtifactRef
from configs.requirements import Requirement
from configs.train import TrainConfig
from sae.formats.sae_folder import fold, write_sae
from sae.training.build import TrainingRun, build_run, count_excluded_positions
from sae.training.collectives import Collective, DistributedCollective, LocalCollective
from sae.training.loop import CURVE, AfterBlock, Trainee, train

# Files of a finished SAE, in the order in which they are stored: when the last is there, all are.
LAST_FILE = "metrics.json"
SAE_FILES = (
    "cfg.json", "sae_weights.safetensors", "training.json", "calibration.json", "calibration.safetensors",
    "curves.parquet", LAST_FILE,
)  # fmt: skip


class TrainTask(NamedTuple):
    """What every worker of a run gets. `saes`: number in the config -> artifact; `channel`: where workers report their progress.

    `metadata` goes into each SAE's cfg.json, beside its hook.
    """

    config: TrainConfig
    saes: dict[int, ArtifactRef]
    metadata: dict[str, Any]
    model: ArtifactRef
    tokens: ArtifactRef
    cache: ArtifactRef | None
    store: Store
    run: str
    attempt: int
    requirement: Requirement
    channel: ProgressChannel


def train_worker(settings: dict[str, TrainTask]) -> None:
    """Entry point for Ray Train. SAEs that it finishes are put into the store as parts; the driver publishes them."""
    task = settings["task"]
    set_up(task.requirement)
    collective = _collective()
    device = _device(task.requirement)
    with temporary_folder() as folder:
        run_task(task, collective, device, Path(folder))


def run_task(task: TrainTask, collective: Collective, device: str, scratch: Path) -> None:
    """Trains the SAEs of the task that this worker owns, from the last checkpoint on."""
    store = task.store
    run = build_run(
        task.config,
        sorted(task.saes),
        store.files(task.model),
        store.files(task.tokens),
        None if task.cache is None else store.files(task.cache),
        collective,
        device,
    )
    checkpoints = Checkpoints(store, task.run, task.attempt, scratch)
    first_block = collective.broadcast(_resume_block(checkpoints, task) if collective.rank == 0 else 0)
    if first_block:
        checkpoint = checkpoints.latest([ref.id for ref in task.saes.values()])
        assert checkpoint is not None
        for number, trainee in run.trainees.items():
            trainee.load_state(checkpoints.load(checkpoint, task.saes[number].id))
    pace = _Pace(task, run, first_block)

    def save(block: int) -> None:
        files = [checkpoints.put(block, task.saes[i].id, t.state()) for i, t in run.trainees.items()]
        every = collective.all_gather(files)
        if collective.rank == 0:
            checkpoints.commit(block, [f for part in every for f in part])
            pace.saved(block)

    finished = train(
        run.plan,
        run.hooks,
        run.source,
        run.trainees,
        collective,
        first_block,
        pace.on_step if collective.rank == 0 else lambda step, trainees: None,
        pace.decide,
        save,
    )
    if finished:
        for number, trainee in run.trainees.items():
            _put_sae(task, run, number, trainee, scratch / task.saes[number].id)
    collective.all_gather(None)


class _Pace:
    """The first worker's clock: tells progress, and decides on checkpoints and stops."""

    def __init__(self, task: TrainTask, run: TrainingRun, first_block: int) -> None:
        self._task, self._plan = task, run.plan
        self._saved_block, self._saved_time = first_block, time.monotonic()
        self._told = 0.0

    def on_step(self, step: int, trainees: Mapping[int, Trainee]) -> None:
        now = time.monotonic()
        if now - self._told < 1.0 and step + 1 < self._plan.total_steps:
            return
        self._told = now
        self._task.channel.report("rows", (step + 1) * self._plan.batch_rows)

    def decide(self, next_block: int) -> AfterBlock:
        runtime = self._task.config.runtime
        due = next_block - self._saved_block >= runtime.checkpoint_blocks
        due = due and time.monotonic() - self._saved_time >= runtime.checkpoint_seconds
        return AfterBlock(due, self._task.channel.stop_requested())

    def saved(self, block: int) -> None:
        self._saved_block, self._saved_time = block, time.monotonic()
        self._task.channel.report("checkpoint", block)


def _put_sae(task: TrainTask, run: TrainingRun, number: int, trainee: Trainee, folder: Path) -> None:
    trainer = trainee.trainer
    config = trainer.config
    tokens = int(sum(row[CURVE.index("tokens")] for row in trainee.curve))
    architecture: dict[str, Any] = {"architecture": "jumprelu"}
    if config.architecture == "topk":
        architecture = {"architecture": "topk", "k": config.k, "rescale_acts_by_decoder_norm": False}
    # What names the SAE, and nothing else: equal SAEs have equal files, however their inputs were referred to and
    # however activations reached the loop (a stream and an fp32 cache give the same).
    science = {k: v for k, v in task.config.science().items() if k not in ("model", "tokens", "cache")}
    training = {
        "config": {**science, "saes": [config.model_dump(mode="json")], "reads": task.config.reads()},
        "inputs": {"model": str(task.model), "tokens": str(task.tokens)},
        "positions": {
            "slots": run.plan.total_steps * run.plan.batch_rows * run.plan.context_length,
            "data": tokens,
            "excluded": count_excluded_positions(run, task.config.policy, tokens),
        },
        "steps": run.plan.total_steps,
    }
    metadata = {**task.metadata, "hook_name": config.hook, "hf_hook_name": run.module_paths[config.hook]}
    write_sae(
        folder,
        fold(trainer.weights(), trainer.calibration.scale),
        architecture,
        metadata,
        trainer.calibration,
        training,
    )
    columns = {name: [row[i] for row in trainee.curve] for i, name in enumerate(CURVE)}
    pq.write_table(pa.table(columns), folder / "curves.parquet", compression="zstd")
    figures = dict(zip(CURVE, trainee.curve[-1], strict=True))
    # A last step without a data position has no figures.
    last = {**{k: v if math.isfinite(v) else None for k, v in figures.items()}, "data_positions": tokens}
    (folder / LAST_FILE).write_text(json.dumps(last, indent=2, sort_keys=True) + "\n")
    for name in SAE_FILES:
        extra = last if name == LAST_FILE else {}
        task.store.put(task.saes[number], task.attempt, name, folder / name, extra=extra, part=True)


def _resume_block(checkpoints: Checkpoints, task: TrainTask) -> int:
    checkpoint = checkpoints.latest([ref.id for ref in task.saes.values()])
    return 0 if checkpoint is None else checkpoint.block


def _collective() -> Collective:
    import ray.train

    workers = ray.train.get_context().get_world_size()
    return LocalCollective() if workers == 1 else DistributedCollective()


def _device(requirement: Requirement) -> str:
    if requirement.device == "cpu":
        return "cpu"
    import ray.train.torch

    return str(ray.train.torch.get_device())
