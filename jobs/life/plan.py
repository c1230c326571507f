"""What is to be done for a config: the steps that it stands on whose artifacts are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jobs.life.resolve import Step
from jobs.stages import stage_module

if TYPE_CHECKING:  # the store pulls in pyarrow; a command that finds everything done should not wait for it
    from cluster.store import Store

# What later stages read of an artifact's own inputs, by the ids in its manifest: an SAE's model and tokens, and so on.
READ_THROUGH = frozenset({"model", "tokens", "sae"})


class MissingInput(ValueError):
    """An input that the config names by id does not exist."""


def is_done(store: Store, step: Step) -> bool:
    """True if everything that the step makes is there. A step that makes nothing, such as maintenance, never is."""
    return bool(step.outputs) and all(store.manifest(output.ref) is not None for output in step.outputs)


def runs_inputs(step: Step) -> bool:
    """True for a stage that has its inputs made by itself: the pipeline."""
    return stage_runs_inputs(step.stage)


def stage_runs_inputs(stage: str) -> bool:
    """The same, by the stage's name."""
    return bool(getattr(stage_module(stage), "RUNS_INPUTS", False))


def missing_steps(steps: Sequence[Step], done: Callable[[Step], bool]) -> list[Step]:
    """The steps to run for the last one: it, and what those to run, or those that read through it, stand on.

    A deleted cache whose SAEs are there is not made again.
    """
    made = {output.ref: step for step in steps for output in step.outputs if not runs_inputs(step)}
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
            if not known[step.fingerprint] or role in READ_THROUGH:
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
