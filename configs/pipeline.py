"""Config of a pipeline: the stages to finish, in order. Inputs of each are found or made first."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.base import StageConfig
from configs.download import DownloadConfig
from configs.evaluate import EvaluateConfig
from configs.extract import ExtractConfig
from configs.harvest import HarvestConfig
from configs.report import ReportConfig
from configs.tokenize import TokenizeConfig
from configs.train import TrainConfig

AnyStage = Annotated[
    DownloadConfig | TokenizeConfig | HarvestConfig | TrainConfig | EvaluateConfig | ExtractConfig | ReportConfig,
    Field(discriminator="stage"),
]


class PipelineConfig(StageConfig):
    """A list of stages. It has no stage logic of its own: each runs exactly as its own command would."""

    stage: Literal["pipeline"] = "pipeline"
    stages: tuple[AnyStage, ...] = Field(min_length=1, description="Stage configs, or paths of their files.")
