"""What crosses between workers: the activations of a step, gathered in lane order. Nothing else."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sae.training.activation_source import Lane

T = TypeVar("T")


def lanes_of(rank: int, workers: int, lanes: int) -> range:
    """Consecutive lanes of one worker; sizes differ by at most one."""
    return range(rank * lanes // workers, (rank + 1) * lanes // workers)


class Collective(Protocol):
    """Brings a step's lanes together and lets the first worker decide for all."""

    rank: int
    workers: int

    def gather(self, lanes: list[Lane], total: int) -> Tensor:
        """The data positions [n, d] of all `total` lanes, in lane order, from this worker's lanes."""
        ...

    def broadcast(self, value: T) -> T:
        """The first worker's value, on every worker."""
        ...

    def all_gather(self, value: T) -> list[T]:
        """Every worker's value, in rank order, on every worker."""
        ...


def _data(lanes: list[Lane]) -> Tensor:
    return torch.cat([lane.acts[lane.mask] for lane in lanes])


class LocalCollective:
    """One worker: nothing to collective."""

    rank, workers = 0, 1

    def gather(self, lanes: list[Lane], total: int) -> Tensor:
        """See Collective."""
        return _data(lanes)

    def broadcast(self, value: T) -> T:
        """See Collective."""
        return value

    def all_gather(self, value: T) -> list[T]:
        """See Collective."""
        return [value]


class DistributedCollective:
    """Several workers over the default process group (gloo on CPU, NCCL on GPU)."""

    def __init__(self) -> None:
        self.rank, self.workers = dist.get_rank(), dist.get_world_size()

    def gather(self, lanes: list[Lane], total: int) -> Tensor:
        """See Collective. Lanes are padded to the largest share, so one equal-sized collective serves any split."""
        share = max(len(lanes_of(rank, self.workers, total)) for rank in range(self.workers))
        acts, mask = torch.stack([lane.acts for lane in lanes]), torch.stack([lane.mask for lane in lanes])
        if len(lanes) < share:
            acts = torch.cat([acts, acts.new_zeros(share - len(lanes), *acts.shape[1:])])
            mask = torch.cat([mask, mask.new_zeros(share - len(lanes), *mask.shape[1:])])
        all_acts = [torch.empty_like(acts) for _ in range(self.workers)]
        all_masks = [torch.empty_like(mask, dtype=torch.uint8) for _ in range(self.workers)]
        dist.all_gather(all_acts, acts.contiguous())
        dist.all_gather(all_masks, mask.to(torch.uint8).contiguous())
        return torch.cat([a[m.bool()] for a, m in zip(all_acts, all_masks, strict=True)])

    def broadcast(self, value: T) -> T:
        """See Collective."""
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        decided: T = box[0]
        return decided

    def all_gather(self, value: T) -> list[T]:
        """See Collective."""
        box: list[Any] = [None] * self.workers
        dist.all_gather_object(box, value)
        return box
