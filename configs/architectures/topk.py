"""TopK and BatchTopK: k active latents of each position, or on average over a batch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.architectures.base import DecoderNormConfig, ShallowConfig


class FixedL0Config(ShallowConfig):
    """What architectures with a given number of active latents have in common."""

    k: int = Field(32, ge=1, description="Active latents of each position.")

    @model_validator(mode="after")
    def _k_fits(self) -> FixedL0Config:
        if self.k > self.d_sae:
            raise ValueError(
                f"k = {self.k} is larger than d_sae = {self.d_sae}: at most {self.d_sae} latents can be active"
            )
        return self

    @property
    def label(self) -> str:
        """See SaeConfig."""
        return f"{self.architecture} {self.d_sae} k={self.k} at {self.hook}"

    @property
    def target_l0(self) -> float:
        """See SaeConfig."""
        return self.k


class TopKConfig(FixedL0Config, DecoderNormConfig):
    """The k largest pre-activations of each position are active (Gao et al. 2024)."""

    architecture: Literal["topk"] = Field("topk", description="The k largest latents of each position are active.")


class BatchTopKConfig(FixedL0Config, DecoderNormConfig):
    """The n k largest pre-activations of a batch of n positions are active (Bussmann et al. 2024).

    A threshold replaces the batch after training. It is measured with the final weights, on the last block.
    """

    architecture: Literal["batchtopk"] = Field(description="The largest latents of a batch are active.")
    k: int = Field(32, ge=1, description="Active latents of a position on average.")
