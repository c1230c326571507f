"""How well an SAE recovers planted features: matched directions, and latents as classifiers of features.

MCC is the mean absolute cosine of decoder rows and planted directions, matched one to one so that the sum is largest. Each
latent's feature is the planted one nearest to it by absolute cosine (not by that matching, of which uniqueness would be 1).
Precision, recall and F1 are of "the latent is active" for "its feature fires", over held-out samples, averaged over the
latents that are active at all; uniqueness is the number of their different features over their number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae.metrics.reconstruction import Counts
from sae.sparse import Codes

Floats = NDArray[np.float64]


class PlantedCounts(NamedTuple):
    """`hits` int64 [d_sae]: samples at which a latent is active and its feature fires. `fired` int64 [F]: features' samples."""

    hits: Counts
    fired: Counts


class Recovery(NamedTuple):
    """Per active latent: precision, recall and F1 [n]; and the number of different features of these latents."""

    precision: Floats
    recall: Floats
    f1: Floats
    features: int


def planted_counts(codes: Codes, truth: Codes, nearest: Tensor, d_sae: int, features: int) -> PlantedCounts:
    """Counts of samples. codes: the SAE's. truth: planted features' of the same samples. nearest [d_sae]: latent -> feature."""
    fires, _ = (truth.position * features + truth.latent).sort()
    claimed = codes.position * features + nearest[codes.latent]
    hit = torch.isin(claimed, fires) if len(fires) else torch.zeros_like(claimed, dtype=torch.bool)
    return PlantedCounts(
        torch.bincount(codes.latent[hit], minlength=d_sae).cpu().numpy(),
        torch.bincount(truth.latent, minlength=features).cpu().numpy(),
    )


def recovery(active: Counts, counts: PlantedCounts, nearest: NDArray[np.int64]) -> Recovery:
    """Of the latents that are `active` [d_sae] at one sample at least."""
    alive = active > 0
    hits = counts.hits[alive].astype(np.float64)
    fired = counts.fired[nearest[alive]]
    precision = hits / active[alive]
    recall = np.divide(hits, fired, out=np.zeros_like(hits), where=fired > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(hits), where=both > 0)
    return Recovery(precision, recall, f1, len(np.unique(nearest[alive])))
