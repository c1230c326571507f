"""Config of a pipeline: the stages to finish, in order. Inputs of each are found or made first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from configs.base import StageConfig
from configs.stages import STAGES, config_union

if TYPE_CHECKING:
    AnyStep = StageConfig
else:
    AnyStep = config_union(entry for entry in STAGES.values() if entry.kinds)


class PipelineConfig(StageConfig):
    """Runs a list of stages. It has no stage logic of its own: each runs exactly as its own command would."""

    stage: Literal["pipeline"] = "pipeline"
    stages: tuple[AnyStep, ...] = Field(min_length=1, description="Stage configs, or paths of their files.")
