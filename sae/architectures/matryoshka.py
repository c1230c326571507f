"""Matryoshka BatchTopK: the first latents reconstruct alone, too, so that they learn what is general (Bussmann et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from configs.architectures import MatryoshkaConfig
from sae.architectures.batchtopk import BatchTopK
from sae.architectures.nested_base import Groups, NestedSae
from sae.sparse import Codes


class Matryoshka(NestedSae[MatryoshkaConfig], BatchTopK):
    """See the module. Groups are ranges of latents; chosen are the largest of the whole batch, as in BatchTopK."""

    def levels(self) -> Sequence[int]:
        """See NestedSae."""
        return self.config.all_widths()

    def groups(self, codes: Codes) -> Groups:
        """See NestedSae."""
        widths = torch.tensor(self.levels(), device=codes.latent.device)
        number = codes.position * len(widths) + torch.searchsorted(widths, codes.latent, right=True)
        starts = torch.arange(len(codes.offsets) * len(widths), device=widths.device)
        return Groups(number, torch.searchsorted(number, starts))


ARCHITECTURE = Matryoshka
