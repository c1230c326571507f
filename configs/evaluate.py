"""Config of the evaluate stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.architectures import SaeConfig
from configs.base import StageConfig
from configs.dtypes import LmDtype
from configs.import_ import ImportConfig
from configs.inputs import IdOrConfig, SaeId
from configs.train import TrainConfig

Control = Literal["decoder", "soft_decoder", "encoder"]


class EvaluateConfig(StageConfig):
    """Measures SAEs on held-out documents. Metrics do not depend on batch size or on the number of workers.

    Up to rounding that holds for mixture-of-experts models too: an expert multiplies whatever rows come together, so
    that on the CPU as well `batch_rows` changes figures by about 1e-8.
    """

    stage: Literal["evaluate"] = "evaluate"
    sae: Annotated[SaeId | TrainConfig | ImportConfig, IdOrConfig()] = Field(
        description="One SAE's id, the training config whose SAEs are all measured, or the config that imports one."
    )
    split: str = Field("test", description="Split of the tokens that the SAE was trained on.")
    rows: int = Field(128, ge=1, description="Rows for EV, L0, alive and density (fewer if the split has fewer).")
    loss_rows: int = Field(32, ge=1, description="Rows for the CE and KL scores, which run the whole model four times.")
    batch_rows: int = Field(8, ge=1, description="Rows in one forward pass.")
    rows_per_chunk: int = Field(32, ge=1, description="Rows in one chunk: the unit of work and of resume.")
    lm_dtype: LmDtype = Field("auto", description="Element type of the language model; auto: fp32 on CPU, bf16 on GPU.")
    controls: tuple[Control, ...] = Field(
        (),
        description="Controls of the truth card: each SAE's own config with these weights `frozen`, trained on what it was "
        "trained on. One that the run of `sae` lists is taken from there.",
    )
    seeds: int = Field(
        0, ge=0, le=16, description="Further seeds of each SAE to train, for the stability of its latents."
    )
    compare_with: tuple[SaeId, ...] = Field(
        (),
        max_length=32,
        description="SAEs for the truth card by their ids: those with `frozen` weights are controls, others are further seeds. "
        "They are of the hook, model, tokens and policy of `sae`.",
    )

    @model_validator(mode="after")
    def _trainable(self) -> EvaluateConfig:
        if isinstance(self.sae, ImportConfig) and (self.controls or self.seeds):
            raise ValueError(
                "an imported SAE has no controls and no further seeds: how and on what it was trained is not known here. Leave "
                "controls and seeds out, or train SAEs on the same tokens and evaluate them"
            )
        if isinstance(self.sae, str) and (self.controls or self.seeds):
            raise ValueError(
                "controls and seeds are trained by the SAE's training config: give that as `sae`, or the ids of SAEs that exist "
                "as `compare_with`"
            )
        if self.compare_with and not isinstance(self.sae, str):
            raise ValueError("compare_with is for one SAE: give its id as `sae`, or controls and seeds")
        tied = [sae for sae in self.sae.saes if not sae.has_encoder] if isinstance(self.sae, TrainConfig) else []
        if "encoder" in self.controls and tied:
            raise ValueError(
                f"controls: {tied[0].label} encodes with its decoder, so there is no control with a frozen encoder"
            )
        named = (*self.controls, *((self.sae, *self.compare_with) if isinstance(self.sae, str) else ()))
        if len(set(named)) < len(named):
            raise ValueError("controls and compare_with name each one once, and not the SAE itself")
        return self

    def beside(self, sae: SaeConfig) -> list[SaeConfig]:
        """The controls of an SAE, then its other seeds; none of one that is a control itself."""
        if sae.frozen != "none":
            return []
        controls = [sae.model_copy(update={"frozen": name}) for name in self.controls]
        return controls + [sae.model_copy(update={"seed": sae.seed + 1 + n}) for n in range(self.seeds)]

    def trained_beside(self) -> TrainConfig | None:
        """The run that trains what `sae`'s own run lacks of these; None if it lacks nothing."""
        if not isinstance(self.sae, TrainConfig):
            return None
        wanted = dict.fromkeys(other for sae in self.sae.saes for other in self.beside(sae))
        missing = tuple(sae for sae in wanted if sae not in self.sae.saes)
        return self.sae.model_copy(update={"saes": missing}) if missing else None
