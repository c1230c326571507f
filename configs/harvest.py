"""Config of the harvest stage, which writes the activation cache."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from configs.base import StageConfig
from configs.data_positions import DataPolicy
from configs.download import DownloadConfig
from configs.dtypes import CacheDtype, LmDtype
from configs.hook_names import stored_hook
from configs.inputs import IdOrConfig, ModelId, TokensId
from configs.tokenize import TokenizeConfig


class HarvestConfig(StageConfig):
    """Writes the activations of data positions once, for any number of runs and epochs."""

    stage: Literal["harvest"] = "harvest"
    model: Annotated[ModelId | DownloadConfig, IdOrConfig()] = Field(description="The language model.")
    tokens: Annotated[TokensId | TokenizeConfig, IdOrConfig()] = Field(description="The tokens to run it on.")
    hooks: tuple[str, ...] = Field(min_length=1, description="Hook names, for example `blocks.7.hook_resid_post`.")
    split: str = Field("train", description="Split of the tokens.")
    rows: int | None = Field(None, ge=1, description="Rows from the start of the split; all if not given.")
    policy: DataPolicy = Field(default_factory=DataPolicy, description="Which positions are data.")
    dtype: CacheDtype = Field("bf16", description="Element type of the stored activations.")
    lm_dtype: LmDtype = Field("auto", description="Element type of the language model; auto: fp32 on CPU, bf16 on GPU.")
    batch_rows: int = Field(8, ge=1, description="Rows in one forward pass of the language model.")
    rows_per_chunk: int = Field(128, ge=1, description="Rows in one chunk: the unit of work, of resume and of a file.")

    @field_validator("hooks")
    @classmethod
    def _sorted_unique(cls, hooks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({stored_hook(hook) for hook in hooks}))
