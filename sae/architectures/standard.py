"""Standard: ReLU and an L1 penalty on values times decoder norms (Bricken et al. 2023, Conerly et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from configs.architectures import StandardConfig
from sae import sparse
from sae.architectures import Step
from sae.architectures.penalised_base import Entries, PenalisedSae, Slopes
from sae.architectures.shallow_base import exported_pre_activations
from sae.sparse import Codes


class Standard(PenalisedSae[StandardConfig]):
    """See the module."""

    def threshold(self) -> Tensor:
        """See PenalisedSae."""
        return torch.zeros_like(self.parameters["b_enc"])

    def near(self, pre: Tensor) -> tuple[Codes, Tensor]:
        """See PenalisedSae."""
        codes = sparse.over(pre, self.threshold())
        return codes, codes.value

    def slopes(self, entries: Entries, pre: Tensor, d_value: Tensor, step: Step, positions: int) -> Slopes:
        """See PenalisedSae. Decoder rows have length 1 here, so that values are values times norms."""
        return Slopes(d_value + self.penalty(self.config.l1, step, positions), {})

    def saelens(self) -> dict[str, Any]:
        """See ShallowSae."""
        return {"architecture": "standard"}

    @staticmethod
    def encode(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Codes:
        """See Architecture."""
        pre = exported_pre_activations(tensors, config, x)
        return sparse.over(pre, pre.new_zeros(pre.shape[1]))


ARCHITECTURE = Standard
