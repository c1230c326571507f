"""The training loop, the same on one worker or many, from a stream or a cache, from the start or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sae.training.activation_source import Lane
from sae.training.build import TrainingRun
from sae.training.collectives import Collective, lanes_of
from sae.training.sae_trainer import SaeTrainer


class AfterBlock(NamedTuple):
    """What to do after a block; the first worker decides for all."""

    checkpoint: bool
    stop: bool


def train(
    run: TrainingRun,
    collective: Collective,
    first_block: int,
    on_step: Callable[[int], None],
    after_block: Callable[[int], AfterBlock],
    save: Callable[[int], None],
) -> bool:
    """Runs blocks from `first_block` on, to the last that an SAE of the run is trained on.

    After each block `after_block(next_block)` decides on the first worker; `save(next_block)` is called on all for a
    checkpoint and before a stop. At the end every SAE sees the batches of its last block once more, to measure what depends on
    its final weights. Returns False if it was stopped before the end. Raises TrainingDiverged.
    """
    plan = run.plan
    mine = lanes_of(collective.rank, collective.workers, plan.lanes)
    last = plan.block_of(max(run.ends) - 1)
    lanes: list[dict[str, Lane]] = []
    for block in range(first_block, last + 1):
        lanes = run.source.lanes(plan, block, mine)
        for index, step in enumerate(plan.steps(block)):
            for trainers, batch in _batches(run, index, lanes, collective):
                for trainer in trainers:
                    if not trainer.finished:
                        trainer.step(batch)
            on_step(step)
        for trainer in run.trainers.values():
            trainer.curve()
        if block == last:
            break
        after = collective.broadcast(after_block(block + 1) if collective.rank == 0 else AfterBlock(False, False))
        if after.checkpoint or after.stop:
            save(block + 1)
        if after.stop:
            return False
    for block in sorted({plan.block_of(end - 1) for end in run.ends}):
        lanes = lanes if block == last and lanes else run.source.lanes(plan, block, mine)
        for index in range(len(plan.steps(block))):
            for trainers, batch in _batches(run, index, lanes, collective):
                for trainer in trainers:
                    if plan.block_of(trainer.total_steps - 1) == block:
                        trainer.measure(batch)
    return True


def _batches(
    run: TrainingRun, index: int, lanes: list[dict[str, Lane]], collective: Collective
) -> Iterator[tuple[list[SaeTrainer], Tensor]]:
    """The data positions of the block's step number `index`, for each set of hooks, with this worker's SAEs that read it.

    [n, d] of all lanes of all workers; of several hooks, side by side, positions that are data at each: [n, d + d2 ...].
    """
    size = run.plan.batch_rows // run.plan.lanes * run.plan.context_length
    cut = slice(index * size, (index + 1) * size)
    for hooks in run.hooks:
        parts = [[Lane(lane[hook].acts[cut], lane[hook].mask[cut]) for hook in hooks] for lane in lanes]
        batch = collective.gather([_side_by_side(part) for part in parts], run.plan.lanes)
        yield [trainer for trainer in run.trainers.values() if trainer.config.hooks() == hooks], batch


def _side_by_side(lanes: list[Lane]) -> Lane:
    """One lane at several hooks as one."""
    if len(lanes) == 1:
        return lanes[0]
    masks = torch.stack([lane.mask for lane in lanes])
    return Lane(torch.cat([lane.acts for lane in lanes], dim=1), masks.all(0))
