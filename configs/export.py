"""Config of the export stage: an SAE in the format of another library."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import StageConfig
from configs.dtypes import LmDtype
from configs.extract import ExtractConfig
from configs.import_ import ImportConfig
from configs.inputs import FeaturesId, IdOrConfig, LabelsId, SaeId
from configs.label import LabelConfig
from configs.sae_formats import EXPORT_FORMATS, ExportName
from configs.train import TrainConfig

_TITLES = "; ".join(f"{name}: {entry.title}" for name, entry in EXPORT_FORMATS.items())


class ExportConfig(StageConfig):
    """Writes an SAE in the format of another library, as a folder to download."""

    stage: Literal["export"] = "export"
    sae: Annotated[SaeId | TrainConfig | ImportConfig, IdOrConfig()] = Field(
        description="One SAE's id, or the config that makes it."
    )
    format: ExportName = Field(description=f"Whose format. {_TITLES}.")
    features: Annotated[FeaturesId | ExtractConfig, IdOrConfig()] | None = Field(
        None, description="neuronpedia: the features of the SAE that the bundle is made of."
    )
    labels: Annotated[LabelsId | LabelConfig, IdOrConfig()] | None = Field(
        None, description="neuronpedia: labels of these features, for the bundle; none: it has no explanations."
    )
    split: str | None = Field(
        None, description="delphi: split of the tokens that the SAE was trained on; train if not given."
    )
    rows: int | None = Field(None, ge=1, description="delphi: rows from the start of the split; 512 if not given.")
    batch_rows: int | None = Field(None, ge=1, description="delphi: rows in one forward pass; 8 if not given.")
    lm_dtype: LmDtype = Field("auto", description="Element type of the language model; auto: fp32 on CPU, bf16 on GPU.")

    @model_validator(mode="after")
    def _belongs_to_the_format(self) -> ExportConfig:
        entry = EXPORT_FORMATS[self.format]
        if entry.features and self.features is None:
            raise ValueError(f"format {self.format} is made of features: give `features`, the features of this SAE")
        if not entry.features and self.features is not None:
            raise ValueError(f"features have no effect on format {self.format}: leave them out")
        if not entry.features and self.labels is not None:
            raise ValueError(f"labels have no effect on format {self.format}: leave them out")
        for name in ("split", "rows", "batch_rows"):
            if getattr(self, name) is not None and not entry.tokens:
                raise ValueError(f"{name} has no effect on format {self.format}: leave it out")
        return self
