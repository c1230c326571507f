"""How many rows of each dataset a mixture has: shares in proportion to weights, exact for any number of rows."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sae.text.tokenizer_spec import TokenizeError


def mixture_rows(
    sizes: Sequence[npt.NDArray[np.int64]],
    weights: Sequence[float],
    split: str,
    max_rows: int | None,
    max_tokens: int | None,
) -> list[int]:
    """Rows to take of each dataset: as many as there are in proportion to `weights`, within the limits.

    `sizes`: tokens int64 [n] of each dataset's rows, in the order in which they are taken; a dataset without rows has no
    part. Raises TokenizeError if that leaves no row.
    """
    total = sum(Fraction(weight) for weight, rows in zip(weights, sizes, strict=True) if len(rows))
    shares = [
        Fraction(weight) / total if len(rows) else Fraction(0) for weight, rows in zip(weights, sizes, strict=True)
    ]
    upto = [np.concatenate([[0], np.cumsum(rows)]) for rows in sizes]
    most = min(int((len(rows) + 1) / share) for rows, share in zip(sizes, shares, strict=True) if share)
    most = most if max_rows is None else min(most, max_rows)

    def fits(rows: int) -> bool:
        parts = shared_out(rows, shares)
        if any(part > len(own) for part, own in zip(parts, sizes, strict=True)):
            return False
        tokens = sum(int(own[part]) for own, part in zip(upto, parts, strict=True))
        return max_tokens is None or tokens <= max_tokens

    # Nearly monotone: rounding moves a row between datasets as the total grows, so a few more totals are tried.
    rows = bisect_left(range(1, most + 1), True, key=lambda total: not fits(total))
    rows = next(total for total in range(min(most, rows + len(sizes)), -1, -1) if total <= rows or fits(total))
    if not rows:
        raise TokenizeError(
            f"the mixture has no row of split {split}: one dataset has too few rows for its weight, or max_tokens is less "
            "than the tokens of one row"
        )
    return shared_out(rows, shares)


def shared_out(rows: int, shares: Sequence[Fraction]) -> list[int]:
    """`rows` divided by `shares`, which add up to 1: each part is within 1 of its share, and they add up to `rows`."""
    edges = [0]
    total = Fraction(0)
    for share in shares:
        total += share
        edges.append(int(rows * total + Fraction(1, 2)))
    return [stop - start for start, stop in itertools.pairwise(edges)]
