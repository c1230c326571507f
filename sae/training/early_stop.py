"""Ends the training of SAEs whose error on held-out rows no longer falls: the same decision on any number of workers."""

from __future__ import annotations

from sae.training.activation_source import Lane
from sae.training.batch_plan import held_out_plan
from sae.training.batches import batches
from sae.training.build import TrainingRun
from sae.training.collectives import Collective


class EarlyStop:
    """Looks at the held-out errors of a run's SAEs after every so many blocks, if its config wants that."""

    def __init__(self, run: TrainingRun, mine: range) -> None:
        self._run, self._mine = run, mine
        self._lanes: list[dict[str, Lane]] | None = None  # the held-out rows, read once

    def ends_all(self, block: int, collective: Collective) -> bool:
        """After a block: looks, if it is time. Whether all SAEs of all workers are finished."""
        run, settings = self._run, self._run.early_stop
        if settings is None or (block + 1) % settings.every_blocks:
            return False
        plan = held_out_plan(run.plan, settings.rows)
        if self._lanes is None:
            self._lanes = run.source.lanes(plan, 0, self._mine)
        sums = {number: (0.0, 0) for number in run.trainers}
        for index in range(plan.total_steps):
            for trainers, batch in batches(run, plan, index, self._lanes, collective):
                for number, trainer in run.trainers.items():
                    if trainer in trainers and not trainer.finished:
                        error, count = trainer.held_out_error(batch)
                        sums[number] = sums[number][0] + error, sums[number][1] + count
        for number, (error, count) in sums.items():
            if count:
                run.trainers[number].look(error / count, settings.patience, settings.min_gain)
        finished = all(trainer.finished for trainer in run.trainers.values())
        return all(collective.all_gather(finished))
