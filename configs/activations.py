"""Settings shared by all that reads activations, and the config of the harvest stage (the activation cache)."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from configs.base import Config, StageConfig
from configs.download import DownloadConfig
from configs.inputs import ModelId, TokensId
from configs.tokenize import TokenizeConfig

LmDtype = Literal["auto", "fp32", "bf16", "fp16"]
CacheDtype = Literal["fp32", "bf16", "fp16"]


_RESID_PRE = re.compile(r"^blocks\.(\d+)\.hook_resid_pre$")


def stored_hook(name: str) -> str:
    """The name under which a hook is stored: the input of block L > 0 is the output of block L - 1."""
    match = _RESID_PRE.match(name)
    return f"blocks.{int(match[1]) - 1}.hook_resid_post" if match and int(match[1]) else name


class DataPolicy(Config):
    """Which positions are data. Padding, BOS and separators never are; these two can be let in, and it is recorded."""

    calibration_rows: int = Field(64, ge=1, description="Rows at the start of the split that calibrate each hook.")
    sink_factor: float = Field(
        3.0, gt=1, description="A position whose norm exceeds this many times the median norm is an attention sink."
    )
    include_sinks: bool = Field(False, description="Treat attention sinks as data.")
    include_special: bool = Field(False, description="Treat special tokens other than BOS, PAD and separator as data.")


class HarvestConfig(StageConfig):
    """Writes the activations of data positions once, for any number of runs and epochs."""

    stage: Literal["harvest"] = "harvest"
    model: ModelId | DownloadConfig = Field(description="The language model.")
    tokens: TokensId | TokenizeConfig = Field(description="The tokens to run it on.")
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
