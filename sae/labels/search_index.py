"""Search of features by meaning: vectors of what is searched of each, and the cosine that a query of random words reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sae.labels.search_text import SearchTexts
from sae.text.word_vectors import Float32, WordVectors, unit

LONGEST = 16  # tokens of a query whose chance is known; longer ones have that of the longest
_DRAWS = 100


class SearchIndex(NamedTuple):
    """`vectors` float16 [features, 256] of length 1, 0 for a feature that nothing is known of.

    `chance` float32 [16]: the best cosine with any feature that 95% of queries of 1, 2, ... random tokens stay below.
    """

    vectors: npt.NDArray[np.float16]
    chance: Float32


class Found(NamedTuple):
    """Features and their cosines with a query, the nearest first; ties by latent."""

    features: npt.NDArray[np.int64]
    cosines: Float32


def make_index(texts: SearchTexts, words: WordVectors, seed: int) -> SearchIndex:
    """Labels and examples count the same. The random queries are drawn by `seed`."""
    vectors = unit(words.of(texts.words) + words.of(texts.examples))
    random = np.random.default_rng(seed)
    chance = np.zeros(LONGEST, np.float32)
    for tokens in range(1, LONGEST + 1):
        drawn = random.integers(0, len(words.vectors), (_DRAWS, tokens))
        best = (unit(words.vectors[drawn].sum(1)) @ vectors.T).max(1)
        chance[tokens - 1] = np.quantile(best, 0.95)
    return SearchIndex(vectors.astype(np.float16), chance)


def shared_chance(searched: Sequence[Float32], words: WordVectors, tokens: int) -> float:
    """The best cosine with any feature of several indexes that 95% of queries of so many random tokens stay below."""
    random = np.random.default_rng(tokens)
    queries = unit(words.vectors[random.integers(0, len(words.vectors), (_DRAWS, min(max(tokens, 1), LONGEST)))].sum(1))
    best = np.max([(queries @ vectors.T).max(1) for vectors in searched if len(vectors)], axis=0)
    return float(np.quantile(best, 0.95))


def nearest_features(vectors: Float32, query: Float32, allowed: npt.NDArray[np.bool_], most: int) -> Found:
    """The features nearest to a query [256] among those `allowed`, bool [features]."""
    cosines = vectors @ query
    rows = np.flatnonzero(allowed)
    if len(rows) > most:
        limit = np.partition(cosines[rows], len(rows) - most)[len(rows) - most]
        rows = rows[cosines[rows] >= limit]
    rows = rows[np.lexsort((rows, -cosines[rows]))][:most]
    return Found(rows, cosines[rows])
