"""The type of a feature, from what its labels reached and what it does: "obscure" is an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from sae.labels.text import Int64, LabelText

FeatureType = Literal["tokens", "context", "writer", "both", "positional", "dense", "obscure"]

DENSE = 0.1  # active at more than this share of the data positions
READS = 0.7  # balanced accuracy that a label must reach beside beating its permuted label
WRITES = 0.6  # likewise for the next token, which is harder to predict
_POSITIONAL_SHARE = 0.5  # of the active positions that are at _PLACES places of the row
_PLACES = 2

READERS: dict[str, FeatureType] = {"tokens": "tokens", "phrases": "tokens", "context": "context"}


class Reached(NamedTuple):
    """What one label reached: its balanced accuracy, and whether it beats its permuted label with a 95% interval."""

    score: float
    beats: bool


def feature_type(
    reached: Mapping[str, Reached], density: float, positional: bool, promotes: bool = False
) -> FeatureType:
    """The type by the label of each method, the best first.

    `tokens` and `context` name what the feature reads; `both` also writes. `promotes`: its promoted tokens become likelier
    where it is amplified, more than by its control.
    """
    if density > DENSE:
        return "dense"
    if positional:
        return "positional"
    reads = [method for method, one in reached.items() if method in READERS and _counts(one, READS)]
    writes = promotes or ("promoted" in reached and _counts(reached["promoted"], WRITES))
    if reads and writes:
        return "both"
    if reads:
        return READERS[reads[0]]
    return "writer" if writes else "obscure"


def is_positional(active: Int64, text: LabelText) -> bool:
    """Whether half of the active positions are at two places of the row, and these hold few of the row's positions."""
    if not len(active) or text.length < 8 * _PLACES:
        return False
    counts = np.sort(np.bincount(active % text.length, minlength=text.length))
    return bool(counts[-_PLACES:].sum() >= _POSITIONAL_SHARE * len(active))


def _counts(one: Reached, least: float) -> bool:
    return one.beats and one.score >= least
