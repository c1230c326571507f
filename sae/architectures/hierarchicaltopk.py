"""HierarchicalTopK: one TopK SAE that is good at every number of active latents up to k (Balagansky et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from configs.architectures import HierarchicalTopKConfig
from sae import sparse
from sae.architectures import Step
from sae.architectures.nested_base import Groups, NestedSae
from sae.architectures.shallow_base import exported_pre_activations
from sae.sparse import Codes


class HierarchicalTopK(NestedSae[HierarchicalTopKConfig]):
    """See the module. Groups are ranks: the first is of the largest latents of a position, and so on."""

    def choose(self, pre: Tensor, step: Step) -> Codes:
        """See ShallowSae. Largest first."""
        return sparse.sorted_topk(pre, self.config.k)

    def levels(self) -> Sequence[int]:
        """See NestedSae."""
        return self.config.all_levels()

    def groups(self, codes: Codes) -> Groups:
        """See NestedSae."""
        levels = torch.tensor(self.levels(), device=codes.latent.device)
        n, k = len(codes.offsets), self.config.k
        group = torch.searchsorted(levels, torch.arange(k, device=levels.device), right=True)
        starts = torch.cat([levels.new_zeros(1), levels[:-1]])
        number = torch.arange(n, device=levels.device)[:, None] * len(levels) + group
        return Groups(number.reshape(-1), (codes.offsets[:, None] + starts).reshape(-1))

    def saelens(self) -> dict[str, Any]:
        """See ShallowSae. SAELens knows it as a TopK SAE, whose `k` may be lowered."""
        return {"architecture": "topk", "k": self.config.k, "rescale_acts_by_decoder_norm": False}

    @staticmethod
    def encode(tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor) -> Codes:
        """See Architecture."""
        return sparse.positive_topk(exported_pre_activations(tensors, config, x), int(config["k"]))


ARCHITECTURE = HierarchicalTopK
