"""Sums of the powers of activations that come out bit-equal in any partition and any order.

Float sums depend on the order of their terms; sums of integers do not. Each power (a float64) is cut into digits of base
2^28 at fixed powers, and each digit is summed as an integer. Of each feature the three highest digits are kept, counted
from the largest power seen so far. A larger one moves them down, and what falls out is what would never have been
counted with the larger one there. What is left out of one power is less than 2^-56 of the largest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

POWERS = 4
DIGITS = 3
BITS = 28
MAX_COUNT = 2 ** (63 - BITS)  # activations of one feature whose digits an int64 can sum

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def sum_powers(value: Float32, count: Int64, maximum: Float32) -> Int64:
    """Digit sums [POWERS, DIGITS, F] of activations `value` [m] sorted by feature, `count` [F] and `maximum` [F] of each."""
    sums = np.zeros((POWERS, DIGITS, len(count)), dtype=np.int64)
    fired = np.flatnonzero(count)
    if not len(fired):
        return sums
    starts = (np.cumsum(count) - count)[fired]
    wide = value.astype(np.float64)
    power = np.ones_like(wide)
    for p, top in enumerate(_top_digit(maximum)):
        power = power * wide
        unit = np.repeat(np.ldexp(1.0, (top * BITS)[fired]), count[fired])
        left = power / unit  # exact: by a power of two
        for digit in range(DIGITS):
            whole = np.floor(left)
            # Whole numbers below 2^28, less than 2^25 of them: their float sum is exact.
            sums[p, digit, fired] = np.add.reduceat(whole, starts)
            left = (left - whole) * 2.0**BITS
    return sums


def add_sums(a: Int64, a_maximum: Float32, b: Int64, b_maximum: Float32) -> Int64:
    """Digit sums of both together; each comes with the maximum [F] of its activations."""
    tops = (_top_digit(maximum) for maximum in (np.maximum(a_maximum, b_maximum), a_maximum, b_maximum))
    return np.stack([_moved(x, top - of_x) + _moved(y, top - of_y)
                     for x, y, top, of_x, of_y in zip(a, b, *tops, strict=True)])  # fmt: skip


def as_floats(sums: Int64, maximum: Float32) -> Float64:
    """The sums of powers 1 to POWERS: float64 [POWERS, F]."""
    out = np.zeros((POWERS, len(maximum)))
    for p, top in enumerate(_top_digit(maximum)):
        for digit in reversed(range(DIGITS)):
            out[p] += np.ldexp(sums[p, digit].astype(np.float64), (top - digit) * BITS)
    return out


def _top_digit(maximum: Float32) -> npt.NDArray[np.int32]:
    """The index of the highest digit of each power of the maximum: int32 [POWERS, F]."""
    wide = maximum.astype(np.float64)
    power, out = np.ones_like(wide), []
    for _ in range(POWERS):
        power = power * wide
        out.append((np.frexp(power)[1] - 1) // BITS)
    return np.stack(out).astype(np.int32)


def _moved(digits: Int64, by: npt.NDArray[np.int32]) -> Int64:
    """Digit sums [DIGITS, F] moved down by `by` digits [F]; a feature that never fired has none to move."""
    if not by.any():
        return digits
    source = np.arange(DIGITS)[:, None] - np.maximum(by, 0)
    return np.where(source >= 0, np.take_along_axis(digits, np.maximum(source, 0), axis=0), 0)
