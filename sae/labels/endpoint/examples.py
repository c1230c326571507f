"""Examples of one feature for a model server: those that a label is made from, and those that it is judged on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sae.labels.activations import Activations
from sae.labels.endpoint.windows import Windows
from sae.labels.examples import LabelExamples
from sae.labels.text import Int64, LabelText

LEAST = 4  # active examples that a judgement needs
_SHOWN, _JUDGED = 5, 6  # of seeds


class ShownExamples(NamedTuple):
    """Positions of the explain part: active ones, the strongest first, with activations as shares of the largest; near misses."""

    active: Int64
    shares: list[float]
    near: Int64


def show(
    feature: int,
    active: Activations,
    text: LabelText,
    drawn: LabelExamples,
    most: int,
    near: int,
    strength: float,
    seed: int,
) -> ShownExamples:
    """At most `most` active positions, half of them the strongest and half of all strengths; and of the drawn near misses."""
    at, values = active.of(feature), active.values_of(feature)
    inside = text.explain[at]
    at, values = at[inside], values[inside]
    order = np.argsort(-values, kind="stable")
    order = order[values[order] >= strength * float(values.max(initial=0.0))]
    top, rest = order[: (most + 1) // 2], order[(most + 1) // 2 :]
    # Evenly over the others, so that all strengths are there.
    middle = (
        rest[np.unique(np.linspace(0, len(rest) - 1, min(most // 2, len(rest))).round().astype(np.int64))]
        if len(rest)
        else rest
    )
    chosen = np.concatenate([top, middle])
    random = np.random.default_rng((seed, feature, _SHOWN))
    missed = np.sort(random.permutation(drawn.near)[:near])
    shares = (values[chosen] / values.max(initial=1e-30)).tolist()
    return ShownExamples(at[chosen], shares, missed)


def judged(
    drawn: LabelExamples,
    windows: Windows,
    active: Int64,
    most: int,
    seed: tuple[int, ...],
    silent_windows: bool,
    without: Int64 | None = None,
) -> LabelExamples:
    """At most `most` active examples and as many silent ones, half of them near misses where there are enough.

    `silent_windows`: only silent examples in whose window the feature, active at the ascending `active`, is silent throughout.
    `without`: positions that are not taken.
    """
    random = np.random.default_rng((*seed, _JUDGED))
    kinds = []
    for at in drawn:
        at = random.permutation(at if without is None else at[~np.isin(at, without)])
        kinds.append(at)
    strong, near, other = kinds
    if silent_windows:
        near, other = (at[windows.silent(at, active)] for at in (near, other))
    strong = strong[:most]
    n_near = min(len(near), max(most // 2, most - len(other)))
    return LabelExamples(np.sort(strong), np.sort(near[:n_near]), np.sort(other[: most - n_near]))


def batches(examples: LabelExamples, size: int, seed: tuple[int, ...]) -> list[Int64]:
    """All of them in random order, `size` at a time: neither place nor batch says which are active."""
    every = np.concatenate(examples)
    order = np.random.default_rng((*seed, _JUDGED)).permutation(every)
    return [order[start : start + size] for start in range(0, len(order), size)]
