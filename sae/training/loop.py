"""The training loop, the same on one worker or many, from a stream or a cache, from the start or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sae.training.activation_source import Lane, Source
from sae.training.collectives import Collective, lanes_of
from sae.training.plan import Plan
from sae.training.sae_trainer import SaeTrainer, StepMetrics

CURVE = ("step", "rows", *StepMetrics._fields)


class Trainee(NamedTuple):
    """An SAE that this worker owns, and one curve entry (CURVE) for each step so far."""

    trainer: SaeTrainer
    curve: list[tuple[float, ...]]

    def state(self) -> dict[str, Tensor]:
        """State of the trainer and its curve, as tensors."""
        return {**self.trainer.state(), "curve": torch.tensor(self.curve, dtype=torch.float64).reshape(-1, len(CURVE))}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores what state() gave."""
        self.trainer.load_state({k: v for k, v in state.items() if k != "curve"})
        self.curve[:] = [tuple(row) for row in state["curve"].tolist()]


class AfterBlock(NamedTuple):
    """What to do after a block; the first worker decides for all."""

    checkpoint: bool
    stop: bool


def train(
    plan: Plan,
    hooks: tuple[str, ...],
    source: Source,
    trainees: Mapping[int, Trainee],
    collective: Collective,
    first_block: int,
    on_step: Callable[[int, Mapping[int, Trainee]], None],
    decide: Callable[[int], AfterBlock],
    save: Callable[[int], None],
) -> bool:
    """Runs blocks from `first_block` on. `trainees` are this worker's, by their number in the run.

    After each block `decide(next_block)` is asked on the first worker, and `save(next_block)` is called on all if it
    says so or the run stops. Returns False if it was stopped before the end.
    """
    mine = lanes_of(collective.rank, collective.workers, plan.lanes)
    for block in range(first_block, plan.blocks):
        lanes = [source.lane(plan, block, lane) for lane in mine]
        for index, step in enumerate(plan.steps(block)):
            for hook in hooks:
                _step_hook(plan, hook, index, step, [lane[hook] for lane in lanes], trainees, collective)
            on_step(step, trainees)
        after = collective.broadcast(decide(block + 1) if collective.rank == 0 else AfterBlock(False, False))
        finished = block + 1 == plan.blocks
        if (after.checkpoint or after.stop) and not finished:
            save(block + 1)
        if after.stop and not finished:
            return False
    return True


def _step_hook(
    plan: Plan,
    hook: str,
    index: int,
    step: int,
    lanes: list[Lane],
    trainees: Mapping[int, Trainee],
    collective: Collective,
) -> None:
    size = plan.batch_rows // plan.lanes * plan.context_length
    cut = slice(index * size, (index + 1) * size)
    batch = collective.gather([Lane(lane.acts[cut], lane.mask[cut]) for lane in lanes], plan.lanes)
    for trainee in trainees.values():
        if trainee.trainer.config.hook == hook:
            metrics = trainee.trainer.step(batch)
            trainee.curve.append((float(step), float((step + 1) * plan.batch_rows), *map(float, metrics)))
