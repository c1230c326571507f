"""What a stage is, and where its work is found: jobs/stages/NAME.py names it STAGE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from configs.artifact_ids import ArtifactRef
from configs.base import StageConfig
from configs.requirements import Requirement
from configs.stages import STAGES
from jobs.life.stage_context import JobContext, Output

if TYPE_CHECKING:  # the store pulls in pyarrow; a command that finds everything done should not wait for it
    from cluster.store import Store

C = TypeVar("C", bound=StageConfig)
Inputs: TypeAlias = dict[str, list[ArtifactRef]]  # by role; a training run gives one artifact an SAE


def _nothing_to_check(config: StageConfig, requirement: Requirement) -> None:
    return None


def _no_bytes(config: StageConfig, inputs: Inputs, store: Store) -> int:
    return 0


@dataclass(frozen=True)
class Stage(Generic[C]):
    """The work of one stage, for configs of type C. Its module imports neither torch nor Ray before `run`.

    `version` enters every id that the stage makes: raise it when the same config gives other bytes.
    `inputs(config)` gives, by role, the config of the stage that makes the input, or the input's `kind/id`.
    `outputs(config, inputs, fingerprint)` names what it makes, before anything runs.
    `run(job)` does the work and publishes each output; raises Stopped when it was asked to stop.
    `check(config, requirement)` raises ValueError for a requirement that the stage cannot use on any machine.
    `store_bytes(config, inputs, store)` estimates, once the inputs exist, the bytes that the stage writes to the store.
    `imports` names modules that `run` uses and that take seconds to import: they are imported while the cluster starts.
    """

    version: int
    inputs: Callable[[C], dict[str, StageConfig | str]]
    outputs: Callable[[C, Inputs, str], list[Output]]
    run: Callable[[JobContext], None]
    check: Callable[[C, Requirement], None] = _nothing_to_check
    store_bytes: Callable[[C, Inputs, Store], int] = _no_bytes
    imports: tuple[str, ...] = ()


LOADED: dict[str, Stage[Any]] = {}


def load_stage(name: str) -> Stage[Any]:
    """The work of a registered stage. Its module is imported when it is first wanted. Raises KeyError."""
    if name not in LOADED:
        stage: Stage[Any] = import_module(f"jobs.stages.{STAGES[name].module}").STAGE
        LOADED[name] = stage
    return LOADED[name]
