"""How much a sketch may cover, and how large it will be: known before anything is extracted.

A sketch keeps a number of entries for each bin of a feature's histogram, so it stops growing where the bins are full.
Sketches that cover about a million positions each are therefore far smaller than their codes; more than MAX_SKETCHES
would add nothing but bytes.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sae.features.histogram import PER_OCTAVE
from sae.features.moments import DIGITS, POWERS
from sae.features.sampling import Quota
from sae.features.sketch import WINDOW_AFTER, WINDOW_BEFORE

POSITIONS = 2**20  # that a sketch covers, about
MIN_SKETCHES, MAX_SKETCHES = 3, 32
_TOTALS_BYTES = 8 + 4 + 8 * POWERS * DIGITS + 4  # of each feature: count, maximum, moments, how many bins and entries
_VALUE_BYTES, _BIN_BYTES = 4, 4
# Densities of features and activations of a feature are taken to be log-normal. These standard deviations of their natural
# logarithms lie between those of two small SAEs (TopK, k 8, 512 latents, on GPT-2s of width 48), for each of which the
# prediction is within 12%: others may differ.
DENSITY_DEVIATION, ACTIVATION_DEVIATION = 2.26, 0.30
_CLASSES = 64  # of density, equally many features in each

Float64 = npt.NDArray[np.float64]


def chunks_per_sketch(rows: int, context_length: int, rows_per_chunk: int, workers: int) -> int:
    """Chunks that one sketch covers: about a million positions, but all workers have two sketches to make at least."""
    chunks = -(-rows // rows_per_chunk)
    usual = max(1, POSITIONS // (rows_per_chunk * context_length), -(-chunks // MAX_SKETCHES))
    return min(usual, max(1, -(-chunks // max(MIN_SKETCHES, 2 * workers))))


def expected_bytes(features: int, positions: int, context_length: int, l0: float, quota: Quota) -> int:
    """Bytes of one sketch over `positions` positions of an SAE with `l0` active features at each."""
    z = np.array([NormalDist().inv_cdf((i + 0.5) / _CLASSES) for i in range(_CLASSES)])
    spread = np.exp(DENSITY_DEVIATION * z)
    active = np.minimum(spread / spread.mean() * l0 / features, 1) * positions
    edges = np.arange(-6, 6, math.log(2) / PER_OCTAVE / ACTIVATION_DEVIATION)
    share = np.diff([NormalDist().cdf(edge) for edge in edges])
    in_bin = active[:, None] * share
    occupied = (1 - np.exp(-in_bin)).sum(axis=1)
    by_bin = _expected_minimum(in_bin, quota.quantile).sum(axis=1)
    missed = np.ones_like(active)
    for kept in (by_bin, np.minimum(quota.top, active), np.minimum(quota.uniform, active)):
        missed *= 1 - kept / active
    candidates = active * (1 - missed)
    window = _mean_window(context_length)
    in_windows = 1 - np.exp(-candidates * window / positions)
    entries = candidates + (active - candidates) * in_windows
    entry_bytes = _VALUE_BYTES + np.min_scalar_type(positions).itemsize  # an activation and its token
    return int(features * (_TOTALS_BYTES + float((entries * entry_bytes + occupied * _BIN_BYTES).mean())))


def _expected_minimum(mean: Float64, most: int) -> Float64:
    """The mean of min(X, most) for X that is Poisson with these means."""
    term = np.exp(-mean)
    below, total = np.zeros_like(mean), np.zeros_like(mean)
    for n in range(most):
        below, total = below + term, total + n * term
        term = term * mean / (n + 1)
    return total + most * (1 - below)


def _mean_window(context_length: int) -> float:
    position = np.arange(context_length)
    before = np.minimum(position, WINDOW_BEFORE)
    after = np.minimum(context_length - 1 - position, WINDOW_AFTER)
    return float((before + after + 1).mean())
