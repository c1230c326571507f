"""The registry of stages. A new stage is one line here, its config in configs/NAME.py and its work in jobs/stages/NAME.py.

Everything else is derived from these lines: the command line, pipelines, profiles, artifact kinds, the HTTP API's
schemas and the table in docs/operations.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union

if TYPE_CHECKING:  # artifact ids need the registry, but no pydantic
    from configs.base import StageConfig

Resource = Literal["workers", "cpus", "gpus", "memory", "threads", "labels"]
RESOURCES: tuple[Resource, ...] = ("workers", "cpus", "gpus", "memory", "threads", "labels")


class StageEntry(NamedTuple):
    """One stage. Its config is the class `NameConfig` of configs/NAME.py; the first sentence of its docstring is its title.

    A stage whose name is a word of Python has `import_.py` where others have `NAME.py`, here and in jobs/stages.
    """

    name: str
    kinds: tuple[str, ...] = ()  # of the artifacts that it makes; a stage without any cannot be a step of a pipeline
    reads_through: tuple[str, ...] = ()  # inputs of it that stages after it read too, by the ids in its artifact
    runs_inputs: bool = False  # it has its inputs made itself, so that its own row covers them
    no_effect: tuple[Resource, ...] = ()  # resources that it cannot use: one task has one worker, and no model no GPU

    @property
    def module(self) -> str:
        """The name of its modules in configs and jobs.stages."""
        return f"{self.name}_" if iskeyword(self.name) else self.name

    @property
    def config(self) -> type[StageConfig]:
        """The class of its config."""
        found: type[StageConfig] = getattr(import_module(f"configs.{self.module}"), f"{self.name.capitalize()}Config")
        return found

    @property
    def title(self) -> str:
        """What it does, in one sentence without its full stop."""
        return (self.config.__doc__ or "").split(". ")[0].splitlines()[0].rstrip(".")


STAGES: dict[str, StageEntry] = {
    entry.name: entry
    for entry in (
        StageEntry("download", ("datasets", "models"), no_effect=("gpus",)),
        StageEntry("tokenize", ("tokens",), reads_through=("model",), no_effect=("gpus",)),
        StageEntry("harvest", ("activations",), reads_through=("model", "tokens")),
        StageEntry("synthesize", ("activations",), no_effect=("gpus",)),
        StageEntry("train", ("saes",), reads_through=("model", "tokens")),
        StageEntry("import", ("saes",), reads_through=("model", "tokens"), no_effect=("workers",)),
        StageEntry("evaluate", ("evaluations",), reads_through=("sae",)),
        StageEntry("probe", ("probes",)),
        StageEntry("extract", ("features",), reads_through=("sae",)),
        StageEntry("label", ("labels",), no_effect=("workers",)),
        StageEntry("report", ("reports",), no_effect=("workers", "gpus")),
        StageEntry("export", ("exports",), no_effect=("workers",)),
        StageEntry("maintain", no_effect=("workers", "gpus", "labels")),
        StageEntry("pipeline", runs_inputs=True, no_effect=RESOURCES),
    )
}

# In the order in which artifacts are made: the kinds of an artifact's inputs come before its own.
ARTIFACT_KINDS = tuple(dict.fromkeys(kind for entry in STAGES.values() for kind in entry.kinds))

if TYPE_CHECKING:
    StageName = str
    ArtifactKind = str
else:
    StageName = Literal[tuple(STAGES)]
    ArtifactKind = Literal[ARTIFACT_KINDS]


def config_union(entries: Iterable[StageEntry]) -> Any:
    """The type of a config of any of these stages, told apart by its key `stage`."""
    from pydantic import Field

    return Annotated[Union[tuple(entry.config for entry in entries)], Field(discriminator="stage")]  # noqa: UP007
