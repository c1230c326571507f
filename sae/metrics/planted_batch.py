"""Measures SAEs on held-out samples of planted activations: the sums of an evaluation, and counts of recovered features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sae.formats.planted import PlantedReader
from sae.formats.sae_folder import Sae
from sae.metrics.batch_evaluation import RowResults
from sae.metrics.pieces import piece_sums
from sae.metrics.planted import planted_counts
from sae.metrics.reconstruction import latent_counts, position_values, sums_of_rows


@torch.inference_mode()
def evaluate_planted(
    reader: PlantedReader, saes: Sequence[Sae], features: Sequence[Tensor], start: int, stop: int
) -> list[RowResults]:
    """Sums of rows [start, stop) for each SAE; pieces are rows. `features` [d_sae]: the feature nearest to each latent."""
    truth = reader.codes(start, stop)
    device = saes[0].device
    x, reference = reader.activations(truth).to(device), saes[0].calibration.mean.to(device)
    mask = torch.ones(stop - start, reader.context_length, dtype=torch.bool)
    row = np.repeat(np.arange(start, stop)[:, None], reader.context_length, axis=1)
    planted, found = len(reader.dictionary.directions), []
    for sae, nearest in zip(saes, features, strict=True):
        codes = sae.encode_sparse(x)
        values = position_values(x, sae.decode_sparse(codes, x), codes, reference)
        on_cpu = codes._replace(latent=codes.latent.cpu(), position=codes.position.cpu())
        found.append(
            RowResults(
                sums_of_rows(values, x, mask, reference),
                latent_counts(codes, sae.d_sae),
                {},
                None,
                {},
                piece_sums(values, mask.numpy(), row),
                planted=planted_counts(on_cpu, truth, nearest, sae.d_sae, planted),
            )
        )
    return found
