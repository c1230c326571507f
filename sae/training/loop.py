"""The training loop, the same on one worker or many, from a stream or a cache, from the start or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from sae.training.activation_source import Lane, Source
from sae.training.batch_plan import Plan
from sae.training.collectives import Collective, lanes_of
from sae.training.sae_trainer import SaeTrainer


class AfterBlock(NamedTuple):
    """What to do after a block; the first worker decides for all."""

    checkpoint: bool
    stop: bool


def train(
    plan: Plan,
    hooks: tuple[str, ...],
    source: Source,
    trainers: Mapping[int, SaeTrainer],
    collective: Collective,
    first_block: int,
    on_step: Callable[[int], None],
    after_block: Callable[[int], AfterBlock],
    save: Callable[[int], None],
) -> bool:
    """Runs blocks from `first_block` on. `trainers` are this worker's, by their SAE's number in the run.

    After each block `after_block(next_block)` decides on the first worker; `save(next_block)` is called on all for a
    checkpoint and before a stop. After the last one every SAE sees that block's batches once more, to measure what depends on
    its final weights. Returns False if it was stopped before the end. Raises TrainingDiverged.
    """
    mine = lanes_of(collective.rank, collective.workers, plan.lanes)
    for block in range(first_block, plan.blocks):
        lanes = source.lanes(plan, block, mine)
        for index, step in enumerate(plan.steps(block)):
            for hook in hooks:
                batch = _gather(plan, hook, index, lanes, collective)
                for trainer in _of_hook(trainers, hook):
                    trainer.step(batch)
            on_step(step)
        for trainer in trainers.values():
            trainer.curve()
        if block + 1 == plan.blocks:
            break
        after = collective.broadcast(after_block(block + 1) if collective.rank == 0 else AfterBlock(False, False))
        if after.checkpoint or after.stop:
            save(block + 1)
        if after.stop:
            return False
    for index in range(len(plan.steps(plan.blocks - 1))):
        for hook in hooks:
            batch = _gather(plan, hook, index, lanes, collective)
            for trainer in _of_hook(trainers, hook):
                trainer.measure(batch)
    return True


def _gather(plan: Plan, hook: str, index: int, lanes: list[dict[str, Lane]], collective: Collective) -> Tensor:
    """Data positions [n, d] at a hook of the block's step number `index`, from the lanes of all workers."""
    size = plan.batch_rows // plan.lanes * plan.context_length
    cut = slice(index * size, (index + 1) * size)
    return collective.gather([Lane(lane[hook].acts[cut], lane[hook].mask[cut]) for lane in lanes], plan.lanes)


def _of_hook(trainers: Mapping[int, SaeTrainer], hook: str) -> Iterator[SaeTrainer]:
    return (trainer for trainer in trainers.values() if trainer.config.hook == hook)
