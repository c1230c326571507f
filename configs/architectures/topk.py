"""TopK and BatchTopK: k active latents of each position, or on average over a batch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.architectures.base import DeadLatentsConfig, DecoderNormConfig
from configs.architectures.steps import Steps, steps_of


class FixedL0Config(DeadLatentsConfig):
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
        return f"{self.architecture} {self.d_sae} k={self.k} at {self.place}"

    @property
    def target_l0(self) -> float:
        """See SaeConfig."""
        return self.k


class WarmedKConfig(FixedL0Config):
    """More active latents at first."""

    k_start: int | None = Field(None, ge=1, description="k of the first step, if it is another; needs `k_warmup`.")
    k_warmup: Steps = Field(
        0, description="Steps, or a share of them such as 10%, over which k goes from k_start to k."
    )

    @model_validator(mode="after")
    def _k_start_fits(self) -> WarmedKConfig:
        if (self.k_start is None) != (self.k_warmup in (0, "0%")):
            raise ValueError("k_start and k_warmup belong together: give both or neither")
        if self.k_start is not None and self.k_start > self.d_sae:
            raise ValueError(f"k_start = {self.k_start} is larger than d_sae = {self.d_sae}")
        return self

    def k_at(self, step: int, total_steps: int) -> int:
        """Active latents of a position at a step."""
        if self.k_start is None:
            return self.k
        left = 1 - min(1.0, step / max(1.0, steps_of(self.k_warmup, total_steps)))
        return self.k + round(left * (self.k_start - self.k))


class TopKConfig(WarmedKConfig, DecoderNormConfig):
    """The k largest pre-activations of each position are active (Gao et al. 2024)."""

    architecture: Literal["topk"] = Field("topk", description="The k largest latents of each position are active.")


class BatchKConfig(WarmedKConfig, DecoderNormConfig):
    """What architectures that choose from a whole batch have in common."""

    k: int = Field(32, ge=1, description="Active latents of a position on average.")


class BatchTopKConfig(BatchKConfig):
    """The n k largest pre-activations of a batch of n positions are active (Bussmann et al. 2024).

    A threshold replaces the batch after training. It is measured with the final weights, on the last block.
    """

    architecture: Literal["batchtopk"] = Field(description="The largest latents of a batch are active.")
