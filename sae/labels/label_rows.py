"""Labels as rows of the tables of the labels artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sae.labels.activations import Activations
from sae.labels.effect_columns import MEASURES, discovered
from sae.labels.endpoint.text_labels import TextLabel
from sae.labels.label_features import FeatureLabels, ScoredLabel
from sae.labels.text import Float64, LabelText
from sae.metrics.intervals import Estimate


class LabelRows(NamedTuple):
    """Rows of both tables, and what `labels.json` counts."""

    features: list[dict[str, Any]]
    labels: list[dict[str, Any]]
    counts: dict[str, Any]


def label_rows(
    found: Iterable[FeatureLabels],
    text: LabelText,
    active: Activations,
    effects: Mapping[str, Float64],
    asked: Iterable[TextLabel] = (),
) -> LabelRows:
    """The rows of every feature, in order of `found`; `effects`: values [F] by column; `asked`: what a model server said."""
    features, labels = [], []
    judged = {one.feature: _judged(one) for one in asked}
    for one in found:
        measured = {name: _number(of[one.feature]) for name, of in effects.items()}
        features.append(_feature(one, text, active) | judged.get(one.feature, {}) | measured)
        labels += [_label(one, rank, scored, text) for rank, scored in enumerate(one.labels)]
    counts = {
        "labelled": sum(row["label"] is not None for row in features),
        "beats": sum(bool(row["beats"]) for row in features),
        "types": dict(sorted(Counter(row["type"] for row in features).items())),
        "effects": _effect_counts(effects),
        "explain_positions": int(text.explain.sum()),
        "test_positions": int(text.test.sum()),
    }
    return LabelRows(features, labels, counts)


def _effect_counts(effects: Mapping[str, Float64]) -> dict[str, int]:
    counts = {"measured": int(np.isfinite(effects.get(MEASURES[0], np.zeros(0))).sum())}
    for name in MEASURES:
        found = discovered(effects, name)
        counts[f"{name}_beats"] = int((effects.get(f"{name}_low", np.zeros(0)) > 0).sum())
        counts[f"{name}_discovered"] = 0 if found is None else int(found.sum())
    return counts


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _feature(one: FeatureLabels, text: LabelText, active: Activations) -> dict[str, Any]:
    at = active.of(one.feature)
    row: dict[str, Any] = {
        "feature": one.feature,
        "type": one.type,
        "active_explain": int(text.explain[at].sum()),
        "active_test": int(text.test[at].sum()),
    }
    if one.labels:
        best = one.labels[0]
        row |= {
            "label": best.label.describe(),
            "method": best.label.method,
            "label_score": best.score.both.value,
            **_difference(best),
            **_embedding(best),
        }
    return {"label": None, "beats": None, **row}


def _label(one: FeatureLabels, rank: int, scored: ScoredLabel, text: LabelText) -> dict[str, Any]:
    label, score = scored.label, scored.score
    both = score.both.body()
    return {
        "feature": one.feature,
        "rank": rank,
        "method": label.method,
        "label": label.describe(),
        "phrases": [list(phrase) for phrase in label.predicate.phrases],
        "context": list(label.predicate.context),
        "follows": label.predicate.follows,
        "inherited_from": label.inherited_from,
        "evidence_rows": (label.evidence // text.length).tolist(),
        "evidence_positions": (label.evidence % text.length).tolist(),
        "score": both["value"],
        "score_low": both["low"],
        "score_high": both["high"],
        "score_near": _value(score.near),
        "score_random": _value(score.random),
        "precision": scored.exact.precision,
        "recall": scored.exact.recall,
        "permuted_feature": scored.permuted_feature,
        **_difference(scored),
        **_embedding(scored, True),
        **{f"test_{kind}": len(at) for kind, at in (scored.test or one.test)._asdict().items()},
    }


def _difference(scored: ScoredLabel) -> dict[str, Any]:
    body = scored.difference.body()
    return {
        "permuted_score": scored.permuted.both.value,
        "difference": body["value"],
        "difference_low": body["low"],
        "difference_high": body["high"],
        "beats": scored.beats,
    }


def _embedding(scored: ScoredLabel, sides: bool = False) -> dict[str, Any]:
    """ROC-AUC by meaning; with `sides` also its interval, and with near misses and random positions alone."""
    if scored.embedding is None:
        return {}
    own, permuted, difference = scored.embedding
    body, gained = own.both.body(), difference.body()
    row = {
        "auc": body["value"],
        "auc_permuted": permuted.both.value,
        "auc_difference": gained["value"],
        "auc_difference_low": gained["low"],
        "auc_difference_high": gained["high"],
    }
    more = {"auc_low": body["low"], "auc_high": body["high"], "auc_near": _value(own.near)}
    return row | more | {"auc_random": _value(own.random)} if sides else row


def _judged(label: TextLabel) -> dict[str, Any]:
    """How a model server judged its own label of a feature, with the permuted label's scores."""
    row: dict[str, Any] = {}
    for name, test in (("detection", label.detection), ("fuzzing", label.fuzzing)):
        if test is not None:
            row |= {name: test.own.both.value, f"{name}_permuted": test.permuted.both.value}
    return row


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
