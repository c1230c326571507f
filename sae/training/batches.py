"""The batches of a step: data positions of all lanes of all workers, for each set of hooks that SAEs read."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sae.training.activation_source import Lane
from sae.training.batch_plan import Plan
from sae.training.build import TrainingRun
from sae.training.collectives import Collective
from sae.training.sae_trainer import SaeTrainer


def batches(
    run: TrainingRun, plan: Plan, index: int, lanes: list[dict[str, Lane]], collective: Collective
) -> Iterator[tuple[list[SaeTrainer], Tensor]]:
    """The data positions of the block's step number `index`, for each set of hooks, with this worker's SAEs that read it.

    [n, d] of all lanes of all workers; of several hooks, side by side, positions that are data at each: [n, d + d2 ...].
    """
    size = plan.batch_rows // plan.lanes * plan.context_length
    cut = slice(index * size, (index + 1) * size)
    for hooks in run.hooks:
        parts = [[Lane(lane[hook].acts[cut], lane[hook].mask[cut]) for hook in hooks] for lane in lanes]
        batch = collective.gather([_side_by_side(part) for part in parts], plan.lanes)
        yield [trainer for trainer in run.trainers.values() if trainer.config.all_hooks() == hooks], batch


def _side_by_side(lanes: list[Lane]) -> Lane:
    """One lane at several hooks as one."""
    if len(lanes) == 1:
        return lanes[0]
    masks = torch.stack([lane.mask for lane in lanes])
    return Lane(torch.cat([lane.acts for lane in lanes], dim=1), masks.all(0))
