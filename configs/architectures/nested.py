"""HierarchicalTopK and Matryoshka BatchTopK: SAEs whose first latents reconstruct alone, too."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.architectures.base import DecoderNormConfig
from configs.architectures.topk import BatchKConfig, FixedL0Config

# Shares of d_sae of the nested prefixes, added up: groups of 1/32, 1/16, 1/8, 1/4 and the rest (Bussmann et al. 2025).
_PREFIXES = (1 / 32, 3 / 32, 7 / 32, 15 / 32)


class HierarchicalTopKConfig(FixedL0Config, DecoderNormConfig):
    """One TopK SAE that is good at every number of active latents up to k (Balagansky et al. 2025).

    The loss is the mean of the errors of the reconstructions from the first `levels` latents of each position, largest first.
    """

    architecture: Literal["hierarchicaltopk"] = Field(description="TopK whose error counts at several k.")
    k: int = Field(
        64, ge=1, description="Active latents of each position: the largest number at which the SAE is used."
    )
    levels: Annotated[tuple[int, ...], Field(min_length=1)] | None = Field(
        None, description="Numbers of latents whose errors count; if not given, k / 8, k / 4, k / 2 and k."
    )

    @model_validator(mode="after")
    def _levels_fit(self) -> HierarchicalTopKConfig:
        levels = self.all_levels()
        if any(a >= b for a, b in pairwise(levels)) or levels[0] < 1 or levels[-1] != self.k:
            raise ValueError(f"levels = {list(levels)} must rise from at least 1 to k = {self.k}")
        return self

    def all_levels(self) -> tuple[int, ...]:
        """The levels, in rising order; the last is k."""
        if self.levels is not None:
            return self.levels
        halved = {max(1, self.k >> n) for n in range(4)}
        return tuple(sorted(halved))


class MatryoshkaConfig(BatchKConfig):
    """BatchTopK whose first latents reconstruct alone, too (Bussmann et al. 2025).

    The loss is the mean of the errors of the reconstructions from the active latents below each of `widths`.
    """

    architecture: Literal["matryoshka"] = Field(description="BatchTopK of nested prefixes of the latents.")
    widths: Annotated[tuple[int, ...], Field(min_length=1)] | None = Field(
        None,
        description="Numbers of first latents that reconstruct alone; if not given, 1/32, 3/32, 7/32 and 15/32 of d_sae, "
        "and d_sae.",
    )

    @model_validator(mode="after")
    def _widths_fit(self) -> MatryoshkaConfig:
        widths = self.all_widths()
        if any(a >= b for a, b in pairwise(widths)) or widths[0] < 1 or widths[-1] != self.d_sae:
            raise ValueError(f"widths = {list(widths)} must rise from at least 1 to d_sae = {self.d_sae}")
        return self

    def all_widths(self) -> tuple[int, ...]:
        """The widths, in rising order; the last is d_sae."""
        if self.widths is not None:
            return self.widths
        return tuple(sorted({*(max(1, round(share * self.d_sae)) for share in _PREFIXES), self.d_sae}))
