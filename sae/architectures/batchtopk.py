"""BatchTopK: the n k largest pre-activations of a batch of n positions are active (Bussmann et al. 2024).

After training a threshold replaces the batch, so that a position's latents do not depend on its neighbours. It is the
one that makes k latents of a position active, on average over the last block, with the final weights. The running average
of all steps' smallest values, which is often used, still includes those of early steps, and leaves L0 10 to 25% below k.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from configs.architectures import BatchKConfig
from sae import sparse
from sae.architectures import Step
from sae.architectures.shallow_base import ShallowSae, exported_pre_activations
from sae.calibration import Calibration
from sae.sparse import Codes


class BatchTopK(ShallowSae[BatchKConfig]):
    """See the module."""

    def __init__(
        self, config: BatchKConfig, calibration: Calibration, device: str, autocast: bool, *others: Calibration
    ) -> None:
        super().__init__(config, calibration, device, autocast, *others)
        self._positions = 0
        self._values: list[Tensor] = []  # the largest of each measured batch, more than the threshold lets through

    def choose(self, pre: Tensor, step: Step) -> Codes:
        """See ShallowSae."""
        return sparse.batch_topk(pre, self.config.k_at(step.number, step.total))

    def measure(self, x: Tensor) -> None:
        """See Architecture."""
        weights = self.weights()
        pre = self.pre_activations(self.sides(x, weights).input, weights)
        self._values.append(sparse.batch_topk(pre, min(2 * self.config.k, self.config.d_sae)).value.cpu())
        self._positions += len(x)

    def tensors(self) -> dict[str, Tensor]:
        """See ShallowSae."""
        return {**super().tensors(), "threshold": torch.full((self.config.d_sae,), self._threshold())}

    def _threshold(self) -> float:
        values = torch.cat([torch.zeros(1), *self._values]).sort(descending=True).values
        last = min(
            self._positions * self.config.k, len(values) - 1
        )  # a threshold of 0 lets all positive values through
        return float(values[max(0, last - 1) : last + 1].double().mean())

    def saelens(self) -> dict[str, Any]:
        """SAELens has no BatchTopK at inference: it is one threshold for all latents."""
        return {"architecture": "jumprelu"}

    @staticmethod
    def encode(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Codes:
        """See Architecture."""
        return sparse.above(exported_pre_activations(tensors, config, x), tensors["threshold"])


ARCHITECTURE = BatchTopK
