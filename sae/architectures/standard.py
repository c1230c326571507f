"""Standard: ReLU and an L1 penalty on values times decoder norms (Bricken et al. 2023, Conerly et al. 2024).

A crosscoder's decoder norm is the sum of those at each hook (Lindsey et al. 2024), or that over all hooks.
"""

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
from sae.joint_hooks import norms_of_hooks
from sae.sparse import Codes

_SHORTEST = 1e-12  # of the part of a decoder row at a hook, whose direction counts


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
        cost: float | Tensor = self.penalty(self.config.l1, step, positions)
        if self._sums_norms:
            W_dec = self.weights().W_dec
            cost = (norms_of_hooks(W_dec, self.hook_widths).sum(1) * cost)[entries.latent]
        return Slopes(d_value + cost, {})

    def penalise_decoder(
        self, d_dec: Tensor, radial: Tensor, entries: Entries, W_dec: Tensor, step: Step, positions: int
    ) -> None:
        """See PenalisedSae. Of a crosscoder a value costs the sum of the lengths of the row's parts."""
        if not self._sums_norms:
            return
        norms = norms_of_hooks(W_dec, self.hook_widths)
        total = entries.sums(entries.value) * self.penalty(self.config.l1, step, positions)
        parts = torch.split(W_dec, self.hook_widths, dim=1)
        unit = [part / norms[:, [hook]].clamp(min=_SHORTEST) for hook, part in enumerate(parts)]
        d_dec += torch.cat(unit, dim=1) * total[:, None]
        radial += norms.sum(1) * total

    @property
    def _sums_norms(self) -> bool:
        return self.config.hook_norms == "sum" and self.config.is_crosscoder

    def saelens(self) -> dict[str, Any]:
        """See ShallowSae."""
        return {"architecture": "standard"}

    @staticmethod
    def encode(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Codes:
        """See Architecture."""
        pre = exported_pre_activations(tensors, config, x)
        return sparse.over(pre, pre.new_zeros(pre.shape[1]))


ARCHITECTURE = Standard
