"""Config of the extract stage: what each feature responds to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Seed, StageConfig
from configs.dtypes import LmDtype
from configs.import_ import ImportConfig
from configs.inputs import IdOrConfig, SaeId
from configs.train import TrainConfig


class ExtractConfig(StageConfig):
    """Extracts statistics and examples of every feature. Memory is bounded by features, not by tokens."""

    stage: Literal["extract"] = "extract"
    sae: Annotated[SaeId | TrainConfig | ImportConfig, IdOrConfig()] = Field(
        description="One SAE's id, the training config whose SAEs are all extracted, or the config that imports one."
    )
    split: str = Field("train", description="Split of the tokens that the SAE was trained on.")
    rows: int | None = Field(
        None, ge=1, description="Rows from the start of the split; the training's rows if not given."
    )
    top_examples: int = Field(20, ge=1, description="Examples with the largest activations.")
    quantiles: int = Field(5, ge=1, description="Equal parts of the non-zero activations that examples are drawn from.")
    quantile_examples: int = Field(4, ge=1, description="Examples drawn from each part.")
    uniform_examples: int = Field(10, ge=1, description="Examples drawn uniformly from all non-zero activations.")
    logit_tokens: int = Field(10, ge=1, description="Promoted and suppressed tokens of each feature.")
    neighbours: int = Field(10, ge=1, description="Nearest other features by cosine of the decoder rows.")
    seed: Seed = Field(0, description="Seed of the drawn examples.")
    batch_rows: int = Field(
        8, ge=1, description="Rows encoded together, in whole forward passes of the training's size: one at least."
    )
    rows_per_chunk: int = Field(128, ge=1, description="Rows in one chunk: the unit of work and of resume.")
    lm_dtype: LmDtype = Field("auto", description="Element type of the language model; auto: fp32 on CPU, bf16 on GPU.")
