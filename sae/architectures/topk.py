"""TopK: the k largest pre-activations of each position are active (Gao et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from configs.architectures import TopKConfig
from sae import sparse
from sae.architectures import Step
from sae.architectures.shallow_base import ShallowSae, exported_pre_activations
from sae.sparse import Codes


class TopK(ShallowSae[TopKConfig]):
    """See the module."""

    def choose(self, pre: Tensor, step: Step) -> Codes:
        """See ShallowSae."""
        return sparse.topk(pre, self.config.k_at(step.number, step.total))

    def saelens(self) -> dict[str, Any]:
        """See ShallowSae."""
        return {"architecture": "topk", "k": self.config.k, "rescale_acts_by_decoder_norm": False}

    @staticmethod
    def encode(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Codes:
        """See Architecture."""
        return sparse.positive_topk(exported_pre_activations(tensors, config, x), int(config["k"]))


ARCHITECTURE = TopK
