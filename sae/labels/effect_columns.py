"""What features read and do as columns, one value a feature: to sort by, each beside its control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sae.labels.activations import Activations
from sae.labels.text import Float64, Int64

if TYPE_CHECKING:  # who reads columns of labels, as the HTTP API does, needs no torch
    from sae.labels.effects import Effects

MEASURES = ("ablation", "promotion")
COLUMNS = (
    "input_score",
    "input_score_control",
    "output_score",
    "output_score_control",
    *(
        name
        for measure in MEASURES
        for name in (measure, *(f"{measure}_{part}" for part in ("control", "difference", "low", "high", "p")))
    ),
)
_STRONGEST = 20
_FALSE_SHARE = 0.05  # of the features that `discovered` names, those expected to be there by chance


def effect_columns(parts: Sequence[Effects], features: int) -> dict[str, Float64]:
    """Means over each feature's examples [F], NaN where nothing was measured.

    `difference` is the mean of effect less control, with its 95% interval by Student's t and `p`, the probability of a
    difference as far above 0 by chance; NaN for one example alone.
    """
    from scipy.special import stdtr, stdtrit  # only who makes columns waits for SciPy

    feature = np.concatenate([np.zeros(0, np.int64), *(part.feature for part in parts)])
    columns: dict[str, Float64] = {}
    for measure in MEASURES:
        own, control = (
            np.concatenate([np.zeros(0), *(getattr(part, name) for part in parts)])
            for name in (measure, f"{measure}_control")
        )
        mean, error, freedom = _mean(feature, own - control, features)
        half = stdtrit(freedom, 0.975) * error
        columns[measure], columns[f"{measure}_control"] = (_mean(feature, x, features)[0] for x in (own, control))
        columns[f"{measure}_difference"] = mean
        columns[f"{measure}_low"], columns[f"{measure}_high"] = mean - half, mean + half
        with np.errstate(invalid="ignore", divide="ignore"):
            columns[f"{measure}_p"] = stdtr(freedom, -mean / error)
    return columns


def discovered(columns: Mapping[str, Float64], measure: str) -> npt.NDArray[np.bool_] | None:
    """Which features have more of an effect than their control, [F], by all features' p: Benjamini and Hochberg's choice.

    One in twenty of them may be there by chance, however many features there are. None where nothing was measured.
    """
    from scipy.stats import false_discovery_control

    p = columns.get(f"{measure}_p")
    if p is None:
        return None
    found, measured = np.zeros(len(p), np.bool_), np.isfinite(p)
    if measured.any():
        found[measured] = false_discovery_control(p[measured]) <= _FALSE_SHARE
    return found


def input_scores(
    active: Activations, tokens: Int64, promoted: npt.NDArray[np.int64], control: Int64
) -> tuple[Float64, Float64]:
    """Share of each feature's strongest positions whose token is one that it promotes [F], and that its control promotes.

    `tokens` are those of flat positions; `promoted` [F, k]. NaN without positions or promoted tokens.
    """
    own, other = np.full(active.features, np.nan), np.full(active.features, np.nan)
    if promoted.shape[1]:
        for feature in range(active.features):
            strongest = np.argsort(-active.values_of(feature), kind="stable")[:_STRONGEST]
            if len(strongest):
                read = tokens[active.of(feature)[strongest]]
                own[feature] = np.isin(read, promoted[feature]).mean()
                other[feature] = np.isin(read, promoted[control[feature]]).mean()
    return own, other


def _mean(feature: Int64, values: Float64, features: int) -> tuple[Float64, Float64, Float64]:
    """Mean, standard error and degrees of freedom [F]; no error for one example alone."""
    count = np.bincount(feature, minlength=features).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(feature, values, features) / count
        spread = np.bincount(feature, (values - mean[feature]) ** 2, features) / (count - 1) / count
        return mean, np.where(count > 1, np.sqrt(spread), np.nan), np.maximum(count - 1, 1)
