"""What the configs of all SAE architectures have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from configs.base import Config, Seed
from configs.hook_names import stored_hook

Frozen = Literal["none", "decoder", "soft_decoder", "encoder"]


class SaeConfig(Config):
    """One sparse autoencoder: what every architecture has. Two equal ones in a run are refused."""

    architecture: str = Field(description="How active latents are chosen.")
    hook: str = Field(description="Hook name, for example `blocks.7.hook_resid_post`.")
    d_sae: int = Field(ge=1, description="Width: the number of latents.")
    seed: Seed = Field(0, description="Seed of the initial weights.")
    lr: float = Field(1e-3, gt=0, description="Peak learning rate of Adam.")
    lr_warmup_steps: int = Field(50, ge=0, description="Steps of linear warm-up.")
    lr_decay_fraction: float = Field(0.2, ge=0, le=1, description="Share of the steps, at the end, of linear decay.")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="Adam's first moment decay.")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="Adam's second moment decay.")
    dead_after_tokens: int = Field(
        200_000, ge=1, description="A latent that was inactive on this many data positions in a row is dead."
    )

    frozen: Frozen = Field(
        "none",
        description="Initial weights that training keeps: none; those of the decoder; those of the decoder up to a cosine of "
        "0.8 (soft_decoder); or those of the encoder with its biases. Such an SAE is a control of the one with none.",
    )

    @field_validator("hook")
    @classmethod
    def _stored_name(cls, hook: str) -> str:
        return stored_hook(hook)

    @property
    def label(self) -> str:
        """What people read in lists."""
        return f"{self.architecture} {self.d_sae} at {self.hook}"

    @property
    def target_l0(self) -> float | None:
        """Active latents of a position that training aims at, on average; None if it aims at no number."""
        return None

    @property
    def planned_l0(self) -> float:
        """Active latents of a position that space on disk is planned for."""
        return self.target_l0 or self.d_sae / 10


class ShallowConfig(SaeConfig):
    """One encoder layer, a choice of active latents, one decoder layer, and an auxiliary loss on dead latents."""

    aux_coefficient: float = Field(1 / 32, ge=0, description="Weight of the auxiliary loss on dead latents; 0 is off.")
    aux_k: int = Field(64, ge=1, description="Dead latents that the auxiliary loss uses for a position.")

    @property
    def free_decoder(self) -> bool:
        """Whether the lengths of decoder rows are trained, too."""
        return False


class DecoderNormConfig(ShallowConfig):
    """A choice of what the lengths of decoder rows are."""

    decoder_norm: Literal["unit", "free"] = Field(
        "unit",
        description="unit: each decoder row keeps length 1. free: lengths are trained, too; what is active and what a "
        "penalty costs is measured as if rows had length 1 and values were larger by the length.",
    )

    @property
    def free_decoder(self) -> bool:
        """See ShallowConfig."""
        return self.decoder_norm == "free"
