"""95% intervals of figures, and of differences of figures, without random numbers.

A ratio of sums over documents: the delta method. With R = A / B, document u moves R by (a_u - R b_u) / B to first order,
and the variance of R is the sum of these squares times D / (D - 1). The difference of two SAEs' figures on the same
documents has the documents' differences, so what documents have in common cancels. A mean over latents: the standard error
of the mean. A share of latents: Wilson's interval. Differences of figures over latents of different SAEs add variances.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z = 1.959963984540054  # 95% of the normal distribution


class Estimate(NamedTuple):
    """A figure with its standard error, and an interval if that is not value +- Z error. `influence` [D]: of documents."""

    value: float
    error: float | None
    interval: tuple[float, float] | None = None
    influence: Floats | None = None

    def body(self) -> dict[str, Any]:
        """As JSON: value, low and high; these are null where one unit alone leaves the uncertainty unknown."""
        if self.interval is not None:
            return {"value": self.value, "low": self.interval[0], "high": self.interval[1]}
        if self.error is None:
            return {"value": self.value, "low": None, "high": None}
        return {"value": self.value, "low": self.value - Z * self.error, "high": self.value + Z * self.error}


def ratio(numerator: Floats, denominator: Floats, complement: bool = False) -> Estimate | None:
    """The sum of `numerator` [D] over that of `denominator` [D], or 1 less it. None if the denominator's sum is 0."""
    bottom = float(denominator.sum())
    if bottom == 0:
        return None
    value = float(numerator.sum()) / bottom
    influence = (numerator - value * denominator) / bottom
    return Estimate(
        1 - value if complement else value, _error(influence), None, -influence if complement else influence
    )


def mean(values: Floats) -> Estimate | None:
    """The mean over latents [n]; None without any."""
    n = len(values)
    if not n:
        return None
    return Estimate(float(values.mean()), float(values.std(ddof=1)) / sqrt(n) if n > 1 else None)


def share(part: int, whole: int) -> Estimate | None:
    """The share of `part` in `whole` latents; None without any."""
    if not whole:
        return None
    p = part / whole
    low, high = share_interval(p, whole)
    return Estimate(p, sqrt(p * (1 - p) / whole), (low if part else 0.0, high if part < whole else 1.0))


def share_interval(p: float, whole: float) -> tuple[float, float]:
    """Wilson's interval of a share `p` of `whole`, which need not be a whole number."""
    zz = Z * Z
    centre, half = p + zz / (2 * whole), Z * sqrt(p * (1 - p) / whole + zz / (4 * whole * whole))
    low, high = ((centre + sign * half) / (1 + zz / whole) for sign in (-1, 1))
    return max(min(low, p), 0.0), min(max(high, p), 1.0)  # which rounding could leave it outside of


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a minus b: paired by document where both are ratios over documents, else of independent figures.

    Of two shares: Newcombe's interval, from the distances of both to the ends of their own intervals, and from the correlation
    of the documents' influences where they have some.
    """
    value = a.value - b.value
    if a.interval is not None and b.interval is not None:
        r = _correlation(a.influence, b.influence)
        down = _apart(a.value - a.interval[0], b.interval[1] - b.value, r)
        up = _apart(a.interval[1] - a.value, b.value - b.interval[0], r)
        return Estimate(value, None, (value - down, value + up))
    if a.influence is not None and b.influence is not None:
        return Estimate(value, _error(a.influence - b.influence))
    if a.error is None or b.error is None:
        return Estimate(value, None)
    return Estimate(value, sqrt(a.error**2 + b.error**2))


def _apart(one: float, other: float, correlation: float) -> float:
    return sqrt(max(0.0, one * one + other * other - 2 * correlation * one * other))


def _correlation(a: Floats | None, b: Floats | None) -> float:
    """Of influences, whose means are 0; 0 where one has none, or moves nothing."""
    if a is None or b is None:
        return 0.0
    scale = sqrt(float(a @ a) * float(b @ b))
    return min(1.0, max(-1.0, float(a @ b) / scale)) if scale else 0.0


def _error(influence: Floats) -> float | None:
    n = len(influence)
    return float(np.sqrt(np.square(influence).sum() * n / (n - 1))) if n > 1 else None
