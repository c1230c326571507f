"""Examples of one feature: positions where it is active, and where it is silent, at random and on the same tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sae.labels.text import Int64, LabelText, Mask

_TRIES = 4  # draws for each wanted silent position


class LabelExamples(NamedTuple):
    """Positions of one part of the text. `near`: silent near misses, on the forms that the feature is active on."""

    active: Int64
    near: Int64
    random: Int64

    @property
    def total(self) -> int:
        """All of them."""
        return len(self.active) + len(self.near) + len(self.random)


def draw_examples(
    strong: Int64, weak: Int64, part: Mask, part_positions: Int64, text: LabelText, n: int, seed: tuple[int, ...]
) -> LabelExamples:
    """At most `n` of each kind, drawn by `seed`, from `part` bool [positions], which is true at `part_positions`.

    The feature is active at `strong`; it is neither active nor silent at `weak`. A position is in one kind at most.
    """
    random = np.random.default_rng(seed)
    inside, active = strong[part[strong]], np.sort(np.concatenate([strong, weak]))
    drawn = np.sort(random.permutation(inside)[:n])
    index = text.index(1)
    near: list[Int64] = []
    if len(drawn):
        keys = np.searchsorted(index.keys, text.form[drawn])
        first, size = index.starts[keys], np.diff(index.starts)[keys]
        picks = first[:, None] + random.integers(0, size[:, None], (len(drawn), _TRIES))
        near.append(index.positions[picks].T.reshape(-1))
    other = random.choice(part_positions, min(len(part_positions), n * _TRIES), replace=False)
    missed = _silent(near[0] if near else np.zeros(0, np.int64), active, part, n)
    taken = np.concatenate([active, missed])
    taken.sort()
    return LabelExamples(drawn, missed, _silent(other, taken, part, n))


def _silent(at: Int64, active: Int64, part: Mask, n: int) -> Int64:
    """The first `n` different positions of `at` that are in the part and not among the ascending `active`; ascending."""
    _, first = np.unique(at, return_index=True)
    at = at[np.sort(first)]
    where = np.searchsorted(active, at)
    hit = np.zeros(len(at), np.bool_)
    if len(active):
        hit = active[np.minimum(where, len(active) - 1)] == at
    return np.sort(at[part[at] & ~hit][:n])
