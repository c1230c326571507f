"""From one config to the stages that it stands on, each with its inputs, outputs and identity. No Ray, no torch.

Ids are known before anything runs: an artifact's id is the hash of its stage, its settings and its inputs' ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from configs.base import Config, StageConfig
from configs.identity import ArtifactRef, canonical_json, fingerprint, parse_ref
from jobs.life.stage_context import Output, named_inputs
from jobs.stages import load_stage

C = TypeVar("C", bound=Config)
# What `auto` stands for, by field and device. Resolved before identity: the same config on a GPU is another artifact.
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
        """The stages that `config` stands on, inputs before those that use them, `config` itself last; each once."""
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
        # A source outside the store is named by what it holds, not by where it is: a file that changed is another job,
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
