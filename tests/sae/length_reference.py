"""Figures of lengths by plain NumPy on the whole, which statistics merged from parts must equal."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt


def length_reference(lengths: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Of lengths int64 [n], each 1 or more; the histogram has a bin for each power of two."""
    edges = 2 ** np.arange(int(np.log2(lengths.min())), int(np.log2(lengths.max())) + 2)
    return {
        "min": int(lengths.min()),
        "mean": float(lengths.mean()),
        "median": float(np.median(lengths)),
        "p95": int(np.quantile(lengths, 0.95, method="inverted_cdf")),
        "max": int(lengths.max()),
        "histogram": [
            [int(low), int(high), int(((lengths >= low) & (lengths < high)).sum())] for low, high in pairwise(edges)
        ],
    }
