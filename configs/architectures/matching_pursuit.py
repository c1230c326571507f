"""Matching pursuit: latents are chosen one after the other, each for what the ones before left over."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from configs.architectures.topk import WarmedKConfig


class MatchingPursuitConfig(WarmedKConfig):
    """k times, the decoder row that fits the residual best is taken away from it (Costa et al. 2025).

    The encoder is the decoder: there are no other weights but b_dec.
    """

    architecture: Literal["matchingpursuit"] = Field(description="Latents are chosen one by one from the residual.")
    k: int = Field(32, ge=1, description="Choices for each position; a latent that is chosen twice counts once in L0.")
    residual_threshold: float = Field(
        0.0,
        ge=0,
        description="A position whose residual has a root mean square below this needs no more latents; inputs are scaled to 1.",
    )
