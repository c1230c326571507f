"""Configs of the SAE architectures: what all have in common, one class for each, and the union that a run chooses from.

A new architecture is a class here, its name in `ARCHITECTURES`, and `sae/architectures/NAME.py`, where NAME is the
value of the class' `architecture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

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


class TopKConfig(ShallowConfig):
    """The k largest pre-activations of each position are active (Gao et al. 2024)."""

    architecture: Literal["topk"] = Field("topk", description="The k largest latents of each position are active.")
    k: int = Field(32, ge=1, description="Active latents of each position.")

    @model_validator(mode="after")
    def _k_fits(self) -> TopKConfig:
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


class BatchTopKConfig(TopKConfig):
    """The n k largest pre-activations of a batch of n positions are active (Bussmann et al. 2024).

    A threshold replaces the batch after training. It is measured with the final weights, on the last block.
    """

    architecture: Literal["batchtopk"] = Field(description="The largest latents of a batch are active.")  # type: ignore[assignment]
    k: int = Field(32, ge=1, description="Active latents of a position on average.")


ARCHITECTURES: tuple[type[SaeConfig], ...] = (TopKConfig, BatchTopKConfig)

NAMES: tuple[str, ...] = tuple(get_args(cls.model_fields["architecture"].annotation)[0] for cls in ARCHITECTURES)


def _tag(value: Any) -> str | None:
    name = value.get("architecture", "topk") if isinstance(value, dict) else getattr(value, "architecture", "topk")
    return name if name in NAMES else None


if TYPE_CHECKING:
    AnySae = SaeConfig
else:
    AnySae = Annotated[
        reduce(or_, (Annotated[cls, Tag(name)] for name, cls in zip(NAMES, ARCHITECTURES, strict=True))),
        Discriminator(
            _tag,
            custom_error_type="architecture",
            custom_error_message=f"architecture must be one of {', '.join(NAMES)}",
        ),
    ]


def architecture_name(cfg: Mapping[str, Any]) -> str:
    """The architecture that an SAE folder's cfg.json is of: our own name for it, else SAELens'.

    SAELens writes different ones under one name: a BatchTopK SAE is `jumprelu` there.
    """
    return str(cfg.get("metadata", {}).get("raylens", {}).get("architecture") or cfg["architecture"])


def target_l0(cfg: Mapping[str, Any]) -> float | None:
    """Active latents of a position that an SAE was trained for, from its folder's cfg.json; None if that is not known."""
    found = cfg.get("k") or cfg.get("metadata", {}).get("raylens", {}).get("target_l0")
    return None if found is None else float(found)
