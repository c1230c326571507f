"""Means over the data positions of documents, from the sums of their rows in files. Codes are read when they are wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae.formats.labelled_rows import Int64
from sae.probing.row_sums import load_codes, load_totals

Floats = NDArray[np.float64]


class DocumentMeans:
    """D documents. In memory are the means of activations; of codes there are only those that a call returns.

    positions int64 [D]: data positions. acts float64 [D, d]: mean activations, 0 for a document without data positions.
    """

    def __init__(self, paths: Sequence[Path], document: Int64, documents: int) -> None:
        """`paths`: files of consecutive rows. document int64 [R]: whose row each is, of `documents` in all."""
        self._paths, self._document, self.excluded = paths, document, Counter[str]()
        self.positions: Int64 = np.zeros(documents, np.int64)
        self.acts: Floats = np.zeros((documents, 0))
        self._starts = [0]
        for path in paths:
            positions, acts, excluded = load_totals(path)
            if not self.acts.size:
                self.acts = np.zeros((documents, acts.shape[1]))
            start = self._starts[-1]
            self._starts.append(start + len(positions))
            own = document[start : self._starts[-1]]
            np.add.at(self.positions, own, positions)
            np.add.at(self.acts, own, acts)
            self.excluded.update(excluded)
        self._per_position = 1 / np.maximum(self.positions, 1)
        self.acts *= self._per_position[:, None]

    def sums(self, sae: int, weights: Floats, d_sae: int) -> Floats:
        """Sums over documents of weight times mean code: [G, d_sae] for weights [G, D]."""
        scaled = weights * self._per_position
        found = np.zeros((len(weights), d_sae))
        for start, path in zip(self._starts, self._paths, strict=False):
            codes = load_codes(path, sae)
            counts = np.diff(codes.offsets)
            document = self._document[start : start + len(counts)]
            value = codes.sum.astype(np.float64)
            for group, row_weights in enumerate(scaled[:, document]):
                if row_weights.any():
                    found[group] += np.bincount(codes.latent, value * np.repeat(row_weights, counts), d_sae)
        return found

    def active_rows(self, sae: int, chosen: NDArray[np.bool_], d_sae: int) -> Int64:
        """In how many rows of the `chosen` documents bool [D] each latent is active: int64 [d_sae]."""
        found = np.zeros(d_sae, np.int64)
        for start, path in zip(self._starts, self._paths, strict=False):
            codes = load_codes(path, sae)
            counts = np.diff(codes.offsets)
            kept = np.repeat(chosen[self._document[start : start + len(counts)]], counts)
            found += np.bincount(codes.latent[kept], minlength=d_sae)
        return found

    def codes(self, sae: int, latents: Int64, d_sae: int) -> Floats:
        """Mean codes of these latents [D, m]."""
        found = np.zeros((len(self.positions), len(latents)))
        column = np.full(d_sae, -1, np.int64)
        column[latents] = np.arange(len(latents))
        for start, path in zip(self._starts, self._paths, strict=False):
            codes = load_codes(path, sae)
            counts = np.diff(codes.offsets)
            own = np.repeat(self._document[start : start + len(counts)], counts)
            place = column[codes.latent]
            kept = place >= 0
            np.add.at(found, (own[kept], place[kept]), codes.sum[kept])
        return found * self._per_position[:, None]
