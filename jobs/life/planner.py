"""From one config to the stages that it requires, and which of them are still to be run. No Ray, no torch.

Ids are known before anything runs: an artifact's id is the hash of its stage, its settings and its inputs' ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from configs.artifact_ids import ArtifactRef, canonical_json, fingerprint, parse_ref
from configs.base import Config, StageConfig
from configs.requirements import Requirement
from configs.resource_profiles import Profile, requirement_for
from configs.stages import STAGES
from jobs.life.stage_context import Output, named_inputs
from jobs.stages import load_stage

if TYPE_CHECKING:  # the store pulls in pyarrow; a command that finds everything done should not wait for it
    from cluster.store import Store

C = TypeVar("C", bound=Config)
# What `auto` means, by field and device. Resolved before identity: the same config on a GPU is another artifact.
_AUTO = {
    "lm_dtype": {"cpu": "fp32", "cuda": "bf16"},
    "autocast": {"cpu": "off", "cuda": "bf16"},
}


class Step(NamedTuple):
    """One stage with everything that names it."""

    config: StageConfig
    version: int
    inputs: dict[str, list[ArtifactRef]]
    outputs: list[Output]
    fingerprint: str
    given: tuple[ArtifactRef, ...] = ()  # inputs that the config names by id: they must exist already

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self.config.stage


def resolve_auto(config: C, device: str) -> C:
    """The config with every `auto` settled for a device ("cpu" or "cuda"), in nested configs too."""
    return config.model_copy(update={name: _settled(name, getattr(config, name), device) for name in _fields(config)})


class Planner:
    """Plans configs and remembers: a source outside the store is looked at (its content hashed) once a command."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}

    def plan(self, config: StageConfig) -> list[Step]:
        """The stages that `config` requires, inputs before those that use them, `config` itself last; each once."""
        steps: dict[str, Step] = {}
        self._visit(config, steps)
        return list(steps.values())

    def step(self, config: StageConfig) -> Step:
        """The config's own step."""
        return self._visit(config, {})

    def _visit(self, config: StageConfig, steps: dict[str, Step]) -> Step:
        inputs: dict[str, list[ArtifactRef]] = {}
        given: list[ArtifactRef] = []
        for role, source in load_stage(config.stage).inputs(config).items():
            if isinstance(source, StageConfig):
                inputs[role] = [output.ref for output in self._visit(source, steps).outputs]
            else:
                inputs[role] = [parse_ref(source)]
                given += inputs[role]
        key = canonical_json([config.model_dump(mode="json"), named_inputs(inputs)])
        if key not in self._steps:
            self._steps[key] = _step(config, inputs, tuple(given))
        step = self._steps[key]
        return steps.setdefault(step.fingerprint, step)


def _step(config: StageConfig, inputs: dict[str, list[ArtifactRef]], given: tuple[ArtifactRef, ...]) -> Step:
    stage = load_stage(config.stage)
    science = _own_science(config)
    fp = fingerprint(config.stage, stage.version, science, named_inputs(inputs))
    outputs = stage.outputs(config, inputs, fp)
    if not inputs and outputs:
        # A source outside the store is identified by its content, not by its path: a file that changed is another job,
        # the same file in another folder is not.
        found = {f"output.{i}": str(output.ref) for i, output in enumerate(outputs)}
        fp = fingerprint(config.stage, stage.version, {}, found)
    return Step(config, stage.version, inputs, outputs, fp, given)


def _own_science(config: StageConfig) -> dict[str, Any]:
    """The settings of this stage alone. Its inputs count by their ids, however the config came to name them."""
    named = [ref for ref in load_stage(config.stage).inputs(config).values() if isinstance(ref, str)]
    inputs = {name for name in _fields(config) if _is_input(getattr(config, name), named)}
    return {name: value for name, value in config.science().items() if name not in inputs}


def _is_input(value: Any, named: list[str]) -> bool:
    if isinstance(value, tuple) and value:
        return all(_is_input(item, named) for item in value)
    return isinstance(value, StageConfig) or (isinstance(value, str) and value in named)


def _settled(name: str, value: Any, device: str) -> Any:
    if value == "auto" and name in _AUTO:
        return _AUTO[name][device]
    if isinstance(value, Config):
        return resolve_auto(value, device)
    if isinstance(value, tuple):
        return tuple(_settled("", item, device) for item in value)
    return value


def _fields(config: Config) -> Iterator[str]:
    return iter(type(config).model_fields)


class MissingInput(ValueError):
    """An input that the config names by id does not exist."""


def is_done(store: Store, step: Step) -> bool:
    """True if everything that the step makes is there. A step that makes nothing, such as maintenance, never is."""
    return bool(step.outputs) and all(store.manifest(output.ref) is not None for output in step.outputs)


def missing_steps(steps: Sequence[Step], done: Callable[[Step], bool]) -> list[Step]:
    """The steps to run for the last one: it, and what those to run, or those that read through it, require.

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


def step_requirement(step: Step, profile: Profile) -> Requirement:
    """What a step requires before its inputs exist: that of the profile, the config's over it, and the plan's bytes."""
    requirement = requirement_for(step.config, profile)
    known = sum(output.store_bytes for output in step.outputs)
    if requirement.workers > 1:
        known += sum(output.shared_bytes for output in step.outputs)
    return requirement.model_copy(update={"store_bytes": known})
