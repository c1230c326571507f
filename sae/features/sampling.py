"""How examples are sampled: one primitive, `keep_first`, and the order that each kind of example gives it.

Keeping the first n of each group by an order is idempotent, and keeping from a union of kept sets gives what keeping
from the whole gives. So chunks can be merged in any order and in any grouping.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.features.histogram import BINS, bin_of

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_GOLDEN = 0x9E3779B97F4A7C15
_POSITION_BITS = 24
MAX_FEATURES = 2**32 // BINS
MAX_CONTEXT = 2**_POSITION_BITS


class Quota(NamedTuple):
    """How many candidates to keep: `top` and `uniform` for each feature, `quantile` for each feature and bin."""

    top: int
    quantile: int
    uniform: int
    seed: int


class Orders(NamedTuple):
    """Groups and orders [m] of entries, each below 2^32: `keep_first` takes one group and one order."""

    feature: UInt64
    feature_bin: UInt64
    value_order: UInt64
    quantile_order: UInt64
    uniform_order: UInt64


def keep_first(group: UInt64, order: UInt64, n: int) -> Int64:
    """Indices of the first `n` of each group, sorted by (group, order, index in the input).

    Both keys lie below 2^32. Entries come sorted by (feature, row, position), so ties break by (row, position).
    """
    key = (group << _SHIFT) | order
    by_key = np.argsort(key, kind="stable")
    sorted_group = group[by_key]
    first = np.ones(len(key), dtype=np.bool_)
    first[n:] = sorted_group[n:] != sorted_group[: max(len(key) - n, 0)]
    return by_key[first]


def splitmix64(x: UInt64) -> UInt64:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64-bit integers."""
    x = x + np.uint64(_GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash64(seed: int, feature: Int64, row: Int64, position: Int64) -> UInt64:
    """64 random bits for each (seed, feature, row, position); position < 2^24, row < 2^40."""
    start = splitmix64(np.array([seed % 2**64], dtype=np.uint64))
    by_feature = splitmix64(start ^ feature.astype(np.uint64))
    token = (row.astype(np.uint64) << np.uint64(_POSITION_BITS)) | position.astype(np.uint64)
    return splitmix64(by_feature ^ token)


def orders(feature: Int64, row: Int64, position: Int64, value: Float32, seed: int) -> Orders:
    """Groups and orders of entries with activation `value` > 0.

    Quantile examples go by the upper half of the hash, uniform ones by the lower half, so that the two draws are
    independent; ties of a half break by (row, position).
    """
    group = feature.astype(np.uint64)
    bits = hash64(seed, feature, row, position)
    # The bits of positive floats, read as integers, are ordered as the floats are.
    value_order = _LOW - value.view(np.uint32).astype(np.uint64)
    feature_bin = group * np.uint64(BINS) + bin_of(value).astype(np.uint64)
    return Orders(group, feature_bin, value_order, bits >> _SHIFT, bits & _LOW)


def candidates(keys: Orders, quota: Quota) -> Mask:
    """The entries [m] that can still become an example of some kind."""
    mask = np.zeros(len(keys.feature), dtype=np.bool_)
    mask[keep_first(keys.feature, keys.value_order, quota.top)] = True
    mask[keep_first(keys.feature_bin, keys.quantile_order, quota.quantile)] = True
    mask[keep_first(keys.feature, keys.uniform_order, quota.uniform)] = True
    return mask
