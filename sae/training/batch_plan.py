"""Which rows and positions each step sees: a pure function of the config, so that no buffer is ever saved.

Step t is the rows [t R, (t + 1) R) of the split, taken round and round, cut into M lanes of R / M rows. A block is at
most K steps; within a block and lane all positions are permuted by (seed, block, lane), then dealt out to its steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs.architectures import SaeConfig
from configs.train import TrainConfig


class Plan(NamedTuple):
    """The fixed order of a run. `rows` is a multiple of `batch_rows`, so an epoch is a whole number of steps."""

    rows: int
    epochs: int
    batch_rows: int
    lanes: int
    block_steps: int
    context_length: int
    seed: int

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.rows // self.batch_rows * self.epochs

    @property
    def blocks(self) -> int:
        """Blocks of the whole run: as few as there can be of at most `block_steps` steps."""
        return -(-self.total_steps // self.block_steps)

    def steps(self, block: int) -> range:
        """Steps of a block; blocks differ by one step at most, so that the last one is as good a sample as any."""
        return range(*(n * self.total_steps // self.blocks for n in (block, block + 1)))

    def steps_for(self, sae: SaeConfig) -> int:
        """Steps that an SAE is trained for."""
        return self.total_steps if sae.train_rows is None else sae.train_rows // self.batch_rows

    def block_of(self, step: int) -> int:
        """The block that a step belongs to."""
        return ((step + 1) * self.blocks - 1) // self.total_steps

    def rows_before(self, block: int) -> int:
        """Rows that are read before a block, counted once an epoch."""
        return self.steps(block).start * self.batch_rows

    def lane_batches(self, block: int, lane: int) -> list[range]:
        """For each step of the block the rows of a lane: consecutive, aligned to the lane's size."""
        size = self.batch_rows // self.lanes
        starts = ((step * self.batch_rows) % self.rows + lane * size for step in self.steps(block))
        return [range(start, start + size) for start in starts]

    def permutation(self, block: int, lane: int) -> Tensor:
        """Order int64 [K * R / M * L] in which a lane's positions of a block are dealt out."""
        count = len(self.steps(block)) * self.batch_rows // self.lanes * self.context_length
        bits = np.random.PCG64(np.random.SeedSequence([self.seed, block, lane]))
        # The order of raw words, which NumPy promises not to change (unlike Generator.permutation).
        return torch.from_numpy(np.argsort(bits.random_raw(count), kind="stable"))


def make_plan(config: TrainConfig, rows_available: int, context_length: int) -> Plan:
    """The plan of a run over the first `config.rows` rows. Raises ValueError if there is not one whole step, or less
    than an SAE's `train_rows`."""
    wanted = rows_available if config.rows is None else config.rows
    if wanted > rows_available:
        raise ValueError(
            f"the config wants {wanted:,} rows of split {config.split!r}, which has {rows_available:,}; lower `rows`"
        )
    rows = wanted // config.batch_rows * config.batch_rows
    if rows == 0:
        raise ValueError(
            f"split {config.split!r} has {wanted} rows, less than one step of batch_rows = {config.batch_rows}"
        )
    longest = max(config.saes, key=lambda sae: sae.train_rows or 0)
    if (longest.train_rows or 0) > rows * config.epochs:
        raise ValueError(
            f"train_rows = {longest.train_rows:,} of {longest.label} is more than the {rows * config.epochs:,} rows that the run "
            "reads"
        )
    return Plan(rows, config.epochs, config.batch_rows, config.lanes, config.block_steps, context_length, config.seed)
