"""What is to be done for a config: the steps that it stands on whose artifacts are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from configs.stages import STAGES
from jobs.life.resolve import Step

if TYPE_CHECKING:  # the store pulls in pyarrow; a command that finds everything done should not wait for it
    from cluster.store import Store


class MissingInput(ValueError):
    """An input that the config names by id does not exist."""


def is_done(store: Store, step: Step) -> bool:
    """True if everything that the step makes is there. A step that makes nothing, such as maintenance, never is."""
    return bool(step.outputs) and all(store.manifest(output.ref) is not None for output in step.outputs)


def missing_steps(steps: Sequence[Step], done: Callable[[Step], bool]) -> list[Step]:
    """The steps to run for the last one: it, and what those to run, or those that read through it, stand on.

    A deleted cache whose SAEs are there is not made again.
    """
    made = {output.ref: step for step in steps for output in step.outputs if not STAGES[step.stage].runs_inputs}
    known = {step.fingerprint: done(step) for step in steps}
    needed: set[str] = set()
    seen: set[str] = set()

    def visit(step: Step) -> None:
        if step.fingerprint in seen:
            return
        seen.add(step.fingerprint)
        if not known[step.fingerprint]:
            needed.add(step.fingerprint)
        for role, refs in step.inputs.items():
            if not known[step.fingerprint] or role in STAGES[step.stage].reads_through:
                for ref in refs:
                    if ref in made:
                        visit(made[ref])

    if not known[steps[-1].fingerprint]:
        visit(steps[-1])
    return [step for step in steps if step.fingerprint in needed]


def check_given(store: Store, steps: Sequence[Step]) -> None:
    """Raises MissingInput for inputs that the config names by an id that the store does not have."""
    absent = sorted({str(ref) for step in steps for ref in step.given if store.manifest(ref) is None})
    if absent:
        raise MissingInput(
            f"the store {store.url} has no {', '.join(absent)}: give an id that exists there, "
            "or the config of the stage that makes it"
        )
