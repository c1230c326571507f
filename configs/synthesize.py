"""Config of the synthesize stage, which makes activations whose true features are known."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from configs.base import Seed, StageConfig

PLANTED_HOOK = "planted"  # where SAEs that are trained on planted activations say that they are


class SynthesizeConfig(StageConfig):
    """Makes activations from a planted dictionary, to measure which features an SAE recovers.

    The defaults are those of SynthSAEBench-16k (Chanin et al. 2026) but for the number of samples. Each sample is a sum of
    few unit directions: which ones is drawn by firing probabilities that follow Zipf's law, by correlations of low rank,
    and by a forest in which a feature is active only where its parent is, and one child of a parent at most.
    """

    stage: Literal["synthesize"] = "synthesize"
    features: int = Field(16_384, ge=2, lt=1 << 16, description="Planted features.")
    d: int = Field(768, ge=2, description="Dimensions of an activation.")
    rows: int = Field(1024, ge=1, description="Rows to train on.")
    heldout_rows: int = Field(256, ge=1, description="Further rows, for evaluation alone.")
    row_samples: int = Field(128, ge=1, description="Samples in a row: what a token position is elsewhere.")
    rows_per_chunk: int = Field(128, ge=1, description="Rows in one chunk: the unit of work, of resume and of a file.")
    seed: Seed = Field(0, description="Seed of the dictionary and of the samples.")
    orthogonal_steps: int = Field(100, ge=0, description="Steps that reduce the overlaps of random directions.")
    zipf_exponent: float = Field(0.5, ge=0, description="Feature i fires with a probability that falls as i^-exponent.")
    most_firing: float = Field(0.4, gt=0, lt=1, description="Firing probability of the first feature.")
    least_firing: float = Field(5e-4, gt=0, lt=1, description="Firing probability of the last feature.")
    correlation_rank: int = Field(25, ge=0, description="Common factors of the features' firing; 0: independent.")
    correlation_scale: float = Field(0.1, ge=0, description="Standard deviation of a feature's weight on each factor.")
    roots: int = Field(128, ge=0, description="Trees of the forest; 0: no feature has a parent.")
    branching: int = Field(4, ge=1, description="Children of a feature of the forest.")
    depth: int = Field(3, ge=1, description="Generations below the roots. Features beyond the forest have no parent.")
    exclusive: bool = Field(True, description="At most one child of a parent is active at a sample.")
    scale_by_parent: bool = Field(True, description="A child's magnitude is multiplied by its parent's over its mean.")
    first_magnitude: float = Field(5.0, gt=0, description="Mean magnitude of the first feature; linear in between.")
    last_magnitude: float = Field(4.0, gt=0, description="Mean magnitude of the last feature.")
    magnitude_deviation: float = Field(
        0.5, ge=0, description="A feature's magnitude has the standard deviation |m + s z|, z normal: this is m."
    )
    magnitude_deviation_spread: float = Field(0.5, ge=0, description="This is s.")
    bias: float = Field(0.5, ge=0, description="Length of a vector that is added to every sample.")
    calibration_rows: int = Field(
        64, ge=1, description="Rows at the start that give mean and scale of the activations."
    )

    @model_validator(mode="after")
    def _consistent(self) -> SynthesizeConfig:
        if self.least_firing > self.most_firing:
            raise ValueError(f"least_firing = {self.least_firing:g} is above most_firing = {self.most_firing:g}")
        if self.roots > self.features:
            raise ValueError(f"roots = {self.roots} is more than features = {self.features}")
        if self.correlation_rank * self.correlation_scale**2 >= 1:
            raise ValueError(
                f"correlation_rank = {self.correlation_rank} times the square of correlation_scale = "
                f"{self.correlation_scale:g} must be below 1: the factors' share of a feature's variance"
            )
        return self
