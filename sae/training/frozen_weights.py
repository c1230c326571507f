"""Initial weights that training keeps, so that an SAE is a control of one that learns them (Korznikov et al. 2026).

What a control reaches is reached without learning those weights: the figure of an SAE counts as far as it is above that of
its controls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from configs.architectures import SaeConfig

SOFT_COSINE = 0.8  # least cosine between a row of a softly frozen decoder and that row at the start
_PREFIXES = {"none": (), "decoder": ("W_dec",), "soft_decoder": ("W_dec",), "encoder": ("W_enc", "b_enc")}


class FrozenWeights:
    """The parameters that one SAE keeps, as they are when this is made: at the start, before a checkpoint is loaded.

    Raises ValueError if the architecture has no such parameters.
    """

    def __init__(self, config: SaeConfig, parameters: dict[str, Tensor]) -> None:
        self._soft, self._parameters = config.frozen == "soft_decoder", parameters
        kept = [name for name in parameters if name.startswith(_PREFIXES[config.frozen])]
        if config.biases_sparsify:
            kept = [name for name in kept if not name.startswith("b_")]
        if config.frozen != "none" and not kept:
            raise ValueError(
                f"frozen = {config.frozen}, but architecture {config.architecture} has no such weights of its own; it "
                f"trains {', '.join(parameters)}"
            )
        self._initial = {name: parameters[name].detach().clone() for name in kept}

    def trained(self) -> list[Tensor]:
        """The parameters that the optimizer steps."""
        return [value for name, value in self._parameters.items() if self._soft or name not in self._initial]

    @torch.no_grad()
    def restore(self) -> None:
        """After a step: puts frozen parameters back, and softly frozen rows within SOFT_COSINE of their start."""
        for name, initial in self._initial.items():
            value = self._parameters[name]
            value.copy_(towards(value, initial, SOFT_COSINE) if self._soft else initial)


def towards(rows: Tensor, initial: Tensor, cosine: float) -> Tensor:
    """Each of `rows` [n, d], turned towards its initial row until their cosine is at least `cosine`; lengths stay."""
    lengths = rows.norm(dim=1, keepdim=True)
    axis = torch.nn.functional.normalize(initial, dim=1)
    along = (rows * axis).sum(1, keepdim=True)
    across = torch.nn.functional.normalize(rows - along * axis, dim=1)
    turned = lengths * (cosine * axis + (1 - cosine**2) ** 0.5 * across)
    return torch.where(along < cosine * lengths, turned, rows)
