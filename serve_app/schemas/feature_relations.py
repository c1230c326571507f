"""How features relate to each other: which are active together."""

from __future__ import annotations

from pydantic import BaseModel, Field


class CoactiveFeature(BaseModel):
    """A feature that is active together with another."""

    latent: int = Field(description="Number of the SAE's latent, from 0.")
    count: int = Field(description="Positions where it is active.")
    joint: int = Field(description="Positions where both are active.")
    expected: float = Field(description="What `joint` would be on average if the two were independent.")
    share: float = Field(description="Share of the first feature's active positions where this one is active too.")
    share_of_other: float = Field(description="Share of this one's active positions where the first is active too.")
    npmi: float = Field(
        description="Normalised pointwise mutual information: 1 always together, 0 as if independent, towards -1 apart."
    )


class CoactiveFeatures(BaseModel):
    """The features that are active together with one: those that share at least 5 positions with it."""

    latent: int = Field(description="Number of the SAE's latent.")
    positions: int = Field(description="Data positions that were counted.")
    count: int = Field(description="Positions among them where the latent is active.")
    coactive: list[CoactiveFeature] = Field(description="The highest NPMI first.")
