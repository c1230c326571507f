"""Config of the report stage: one self-contained page about one SAE and its features."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Seed, StageConfig
from configs.evaluate import EvaluateConfig
from configs.extract import ExtractConfig
from configs.inputs import EvaluationId, FeaturesId, IdOrConfig, LabelsId, ProbesId
from configs.label import LabelConfig
from configs.probe import ProbeConfig


class ReportConfig(StageConfig):
    """Writes report.html and report.json for one SAE."""

    stage: Literal["report"] = "report"
    features: Annotated[FeaturesId | ExtractConfig, IdOrConfig()] = Field(
        description="Extracted features, or the config that extracts them."
    )
    evaluation: Annotated[EvaluationId | EvaluateConfig, IdOrConfig()] = Field(
        description="Metrics, or the config that measures them."
    )
    labels: Annotated[LabelsId | LabelConfig, IdOrConfig()] | None = Field(
        None, description="Labels of these features, or the config that makes them; none: the page has no labels."
    )
    probes: Annotated[ProbesId | ProbeConfig, IdOrConfig()] | None = Field(
        None,
        description="Probes of this SAE on labelled documents, or the config that makes them; none: the page has no probes.",
    )
    pages: int = Field(
        300, ge=1, description="Features with a page of their own, spread evenly over the density ranks."
    )
    seed: Seed = Field(0, description="Seed of the choice of features within each density rank.")
    context_tokens: int = Field(24, ge=4, description="Tokens shown before and after an example's position.")
