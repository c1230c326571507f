"""Labels in words among a feature's other labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sae.labels.endpoint.text_labels import TextLabel
from sae.labels.label_features import FeatureLabels, Label, ScoredLabel
from sae.labels.predicate import Predicate
from sae.labels.scores import ExactScore

METHOD = "endpoint"
_NOT_EXECUTED = ExactScore(None, None)  # nobody asks a model server about all positions


def merged(found: Sequence[FeatureLabels], labels: Iterable[TextLabel]) -> list[FeatureLabels]:
    """Every feature's labels, the best first: one in words if it did better on explain examples than the best other label.

    Only labels with a detection score are among them, which is their score. The feature's type stays: no text label decides it.
    """
    by_feature = {one.feature: one for one in labels}
    return [_merged(one, by_feature) for one in found]


def _merged(one: FeatureLabels, by_feature: Mapping[int, TextLabel]) -> FeatureLabels:
    label = by_feature.get(one.feature)
    if label is None or label.text is None or label.detection is None or label.permuted_feature is None:
        return one
    scored = ScoredLabel(
        label=Label(one.feature, METHOD, Predicate(), label.evidence, text=label.text),
        explained=_NOT_EXECUTED,
        score=label.detection.own,
        exact=_NOT_EXECUTED,
        permuted_feature=label.permuted_feature,
        permuted=label.detection.permuted,
        difference=label.detection.difference,
        control=by_feature[label.permuted_feature].text or "",
        test=label.detection.examples,
    )
    better = (
        label.explain is not None and label.explain_best is not None and label.explain.value > label.explain_best.value
    )
    return one._replace(labels=[scored, *one.labels] if better or not one.labels else [*one.labels, scored])
