"""Which latents are chosen, on training documents alone, and random ones that are active as often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from sae.formats.labelled_rows import Int64
from sae.formats.sae_folder import Sae
from sae.probing.document_means import DocumentMeans
from sae.probing.logistic import Probe

Floats = NDArray[np.float64]
_NEAR = 10  # random latents come from this many ranks of frequency below and above, or 2% of all
_ROWS = 4096  # of the decoder that are brought to float64 at a time


class LatentSource:
    """The codes of one SAE on the documents, by the SAE's number in the files."""

    def __init__(self, means: DocumentMeans, number: int, sae: Sae, train: NDArray[np.bool_]) -> None:
        """train bool [D]: the documents that say how often a latent is active."""
        self._means, self._number, self._sae = means, number, sae
        self.active = means.active_rows(number, train, sae.d_sae)

    def differences(self, weights: Floats) -> Floats:
        """Sums of mean codes [G, d_sae] over documents, weighted [G, D]."""
        return self._means.sums(self._number, weights, self._sae.d_sae)

    def codes(self, latents: Int64) -> Floats:
        """Mean codes of these latents [D, m]."""
        return self._means.codes(self._number, latents, self._sae.d_sae)

    def effects(self, probes: Sequence[Probe]) -> Floats:
        """What a unit of each latent adds to the logit of each probe on the hook: [d_sae, P]."""
        weights = torch.from_numpy(np.stack([probe.weights for probe in probes], axis=1))
        parts = [rows.cpu().double() @ weights for rows in torch.split(self._sae.W_dec, _ROWS)]
        found: Floats = torch.cat(parts).numpy()
        return found


def largest(values: Floats, most: int) -> Int64:
    """The latents with the largest values [d_sae] above 0, the largest first; of equal ones the lower latent. `most` at most."""
    order = np.argsort(-values, kind="stable")[:most]
    return order[values[order] > 0]


def random_like(chosen: Int64, active: Int64, random: Generator) -> Int64:
    """For each of the chosen latents another one that is active about as often, each once: int64 of the same length.

    active int64 [d_sae]: how often each is. Fewer than chosen only where no more are active at all.
    """
    live = np.flatnonzero(active)
    ranked = live[np.argsort(active[live], kind="stable")]
    rank = {int(latent): i for i, latent in enumerate(ranked)}
    free = ~np.isin(ranked, chosen)
    width = max(_NEAR, len(ranked) // 50)
    found = []
    for latent in chosen.tolist():
        middle = rank.get(latent, 0)
        start = max(0, middle - width)
        near = start + np.flatnonzero(free[start : middle + width + 1])
        if not len(near):
            near = np.flatnonzero(free)
        if not len(near):
            break
        place = int(random.choice(near))
        free[place] = False
        found.append(int(ranked[place]))
    return np.array(found, np.int64)
