"""The training loop, the same on one worker or many, from a stream or a cache, from the start or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sae.training.activation_source import Lane
from sae.training.batches import batches
from sae.training.build import TrainingRun
from sae.training.collectives import Collective, lanes_of
from sae.training.early_stop import EarlyStop


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
    early, block, lanes = EarlyStop(run, mine), first_block, list[dict[str, Lane]]()
    for block in range(first_block, last + 1):
        lanes = run.source.lanes(plan, block, mine)
        for index, step in enumerate(plan.steps(block)):
            for trainers, batch in batches(run, plan, index, lanes, collective):
                for trainer in trainers:
                    if not trainer.finished:
                        trainer.step(batch)
            on_step(step)
        for trainer in run.trainers.values():
            trainer.curve()
        if block == last or early.ends_all(block, collective):
            break
        after = collective.broadcast(after_block(block + 1) if collective.rank == 0 else AfterBlock(False, False))
        if after.checkpoint or after.stop:
            save(block + 1)
        if after.stop:
            return False
    # The block that was read last is at hand; a resumed run may have read none.
    ends = {plan.block_of(trainer.step_number - 1) for trainer in run.trainers.values()}
    for ending in sorted({one for part in collective.all_gather(sorted(ends)) for one in part}, reverse=True):
        lanes = lanes if lanes and ending == block else run.source.lanes(plan, ending, mine)
        for index in range(len(plan.steps(ending))):
            for trainers, batch in batches(run, plan, index, lanes, collective):
                for trainer in trainers:
                    if plan.block_of(trainer.step_number - 1) == ending:
                        trainer.measure(batch)
        lanes = []
    return True
