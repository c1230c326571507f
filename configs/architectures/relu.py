"""Standard, gated and JumpReLU: SAEs whose latents are active above a threshold, and whose loss penalises activity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.architectures.base import DecoderNormConfig, ShallowConfig
from configs.architectures.steps import Steps


class PenalisedConfig(ShallowConfig):
    """What architectures with a sparsity penalty have in common.

    Penalties are written for errors summed over dimensions, as in the papers: the loss divides both by d.
    """

    sparsity_warmup: Steps = Field(
        "5%", description="Steps, or a share of them, over which the sparsity penalty rises to its full weight."
    )
    revival_coefficient: float = Field(
        1e-3,
        ge=0,
        description="Weight of the loss that pushes up pre-activations of dead latents that are below their threshold; 0 is off.",
    )

    @property
    def biases_sparsify(self) -> bool:
        """See SaeConfig."""
        return True


class StandardConfig(PenalisedConfig, DecoderNormConfig):
    """ReLU and an L1 penalty on values times decoder norms (Bricken et al. 2023, Conerly et al. 2024)."""

    architecture: Literal["standard"] = Field(description="Every positive latent is active, at the price of its value.")
    l1: float = Field(5.0, ge=0, description="Weight of the sum of values times decoder norms.")
    hook_norms: Literal["sum", "joint"] = Field(
        "sum",
        description="Crosscoder: what values are multiplied by in the penalty. sum: the sum of the decoder row's lengths at each "
        "hook, so that latents of few hooks cost less (Lindsey et al. 2024). joint: its length over all hooks.",
        exclude_if=lambda norms: norms == "sum",
    )

    @model_validator(mode="after")
    def _has_hook_norms(self) -> StandardConfig:
        if self.hook_norms != "sum" and not self.is_crosscoder:
            raise ValueError(f"hook_norms = {self.hook_norms} is for crosscoders, which have `hooks`: leave it out")
        return self

    @property
    def label(self) -> str:
        """See SaeConfig."""
        return f"{self.architecture} {self.d_sae} l1={self.l1:g} at {self.place}"


class GatedConfig(PenalisedConfig):
    """A gate decides which latents are active, its own pre-activation how much (Rajamanoharan et al. 2024)."""

    architecture: Literal["gated"] = Field(description="A gate chooses active latents, a magnitude gives their values.")
    l1: float = Field(5.0, ge=0, description="Weight of the sum of the gates' positive pre-activations.")

    @property
    def label(self) -> str:
        """See SaeConfig."""
        return f"{self.architecture} {self.d_sae} l1={self.l1:g} at {self.place}"


class JumpReluConfig(PenalisedConfig, DecoderNormConfig):
    """A latent is active above a threshold of its own, which is trained (Rajamanoharan et al. 2024).

    The threshold's gradient comes from pre-activations within `bandwidth` around it (a rectangle, straight through).
    """

    architecture: Literal["jumprelu"] = Field(description="A latent is active above its own trained threshold.")
    sparsity_loss: Literal["step", "tanh", "quadratic"] = Field(
        "quadratic",
        description="step: the number of active latents L0. tanh: the sum of tanh(tanh_scale * value). quadratic: "
        "(L0 - target)^2 / target, with L0 of the batch.",
    )
    sparsity_coefficient: float | None = Field(
        None, ge=0, description="Weight of the sparsity loss; if not given, 20 for quadratic, 0.5 for step and tanh."
    )
    target: float | None = Field(
        None, gt=0, description="L0 that the quadratic loss aims at; 32 if not given. The other losses have none."
    )
    tanh_scale: float | None = Field(None, gt=0, description="Scale of the tanh loss; 4 if not given.")
    bandwidth: float = Field(0.2, gt=0, description="Width of the rectangle, in units of scaled pre-activations.")
    straight_through: Literal["threshold", "all"] = Field(
        "threshold", description="What the rectangle gives a gradient: the threshold, or the pre-activations too."
    )
    initial_l0: float | None = Field(
        None,
        gt=0,
        description="L0 of the first batch, which one threshold for all latents gives; if not given, the target, or "
        "d_sae / 20.",
    )
    threshold_rate: float = Field(
        10.0, gt=0, description="Learning rate of thresholds, in units of that of the weights."
    )

    @model_validator(mode="after")
    def _belongs_to_the_loss(self) -> JumpReluConfig:
        for name, loss in (("target", "quadratic"), ("tanh_scale", "tanh")):
            if getattr(self, name) is not None and self.sparsity_loss != loss:
                raise ValueError(f"{name} belongs to sparsity_loss {loss}, which this is not ({self.sparsity_loss})")
        for name, value in (("target", self.target_l0), ("initial_l0", self.initial_l0)):
            if value is not None and value > self.d_sae:
                raise ValueError(f"{name} = {value:g} is larger than d_sae = {self.d_sae}")
        return self

    @property
    def target_l0(self) -> float | None:
        """See SaeConfig."""
        return (self.target or 32.0) if self.sparsity_loss == "quadratic" else None

    @property
    def coefficient(self) -> float:
        """Weight of the sparsity loss."""
        if self.sparsity_coefficient is not None:
            return self.sparsity_coefficient
        return 20.0 if self.sparsity_loss == "quadratic" else 0.5

    @property
    def first_l0(self) -> float:
        """L0 of the first batch."""
        if self.initial_l0 is not None:
            return self.initial_l0
        return self.target_l0 or self.d_sae / 20

    @property
    def label(self) -> str:
        """See SaeConfig."""
        aim = f"L0={self.target_l0:g}" if self.target_l0 else f"{self.sparsity_loss}={self.coefficient:g}"
        return f"{self.architecture} {self.d_sae} {aim} at {self.place}"
