"""Config of the evaluate stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.base import StageConfig
from configs.dtypes import LmDtype
from configs.inputs import IdOrConfig, SaeId
from configs.train import TrainConfig


class EvaluateConfig(StageConfig):
    """Measures SAEs on held-out documents. Metrics do not depend on batch size or on the number of workers.

    Up to rounding that holds for mixture-of-experts models too: an expert multiplies whatever rows come together, so
    that on the CPU as well `batch_rows` changes figures by about 1e-8.
    """

    stage: Literal["evaluate"] = "evaluate"
    sae: Annotated[SaeId | TrainConfig, IdOrConfig()] = Field(
        description="One SAE's id, or the training config whose SAEs are all measured."
    )
    split: str = Field("test", description="Split of the tokens that the SAE was trained on.")
    rows: int = Field(128, ge=1, description="Rows for EV, L0, alive and density (fewer if the split has fewer).")
    loss_rows: int = Field(32, ge=1, description="Rows for the CE and KL scores, which run the whole model four times.")
    batch_rows: int = Field(8, ge=1, description="Rows in one forward pass.")
    rows_per_chunk: int = Field(32, ge=1, description="Rows in one chunk: the unit of work and of resume.")
    lm_dtype: LmDtype = Field("auto", description="Element type of the language model; auto: fp32 on CPU, bf16 on GPU.")
