"""Many ranges of numbers at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def ranges(begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The numbers begins[i], begins[i] + 1, ... of which there are lengths[i], for each i, one range behind the other."""
    numbers = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
    numbers += np.arange(len(numbers))
    return numbers
