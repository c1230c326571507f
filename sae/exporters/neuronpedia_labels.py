"""Labels in Neuronpedia's bundle: `explanations/` has one record a label, `explanation-scores/` one a feature with all scores.

Scores are those of RayLens, so their types have its name. `jsonDetails` has what stands beside each: interval, permuted label.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sae.formats.labels import LabelsReader

_NAME = "raylens"
_BESIDE = ("_low", "_high", "_near", "_random")


class LabelRecords:
    """The records of labels. `name` is the SAE's; `model`, `layer` and `author` are those of the bundle."""

    def __init__(self, labels: LabelsReader, name: str, model: str, layer: str, author: str) -> None:
        self._labels, self._name, self._author = labels, name, author
        self._where = {"modelId": model, "layer": layer}
        asked = labels.info.endpoint
        self._model = _NAME if asked is None else str(asked["model"])

    def explanations(self, first: int, stop: int) -> list[dict[str, Any]]:
        """One record a label of the features `first` to `stop` - 1, the best of each feature first."""
        return [self._explanation(row) for row in self._labels.labels_between(first, stop)]

    def scores(self, first: int, stop: int) -> list[dict[str, Any]]:
        """One record a feature that has labels: these again, each with its `scores`."""
        by_feature: dict[int, list[dict[str, Any]]] = {}
        for row in self._labels.labels_between(first, stop):
            by_feature.setdefault(row["feature"], []).append({**self._explanation(row), "scores": self._scores(row)})
        return [{**self._where, "index": str(feature), "explanations": own} for feature, own in by_feature.items()]

    def _explanation(self, row: Mapping[str, Any]) -> dict[str, Any]:
        method = str(row["method"])
        return {
            "id": self._id(row), **self._where, "index": str(row["feature"]), "description": row["label"],
            "authorId": self._author, "typeName": f"{_NAME}_{method}",
            "explanationModelName": self._model if method == "endpoint" else _NAME,
        }  # fmt: skip

    def _scores(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        asked = row["method"] == "endpoint"
        details = {name: row[f"score{name}"] for name in _BESIDE}
        kind = "detection" if asked else "balanced_accuracy"
        found = [self._score(row, kind, row["score"], {**details, **_control(row, "")})]
        fuzzing = self._labels.fuzzing(int(row["feature"])) if asked else None
        if fuzzing is not None:
            beside = {name: value for name, value in fuzzing.items() if name != "score"}
            found.append(self._score(row, "fuzzing", fuzzing["score"], beside))
        if row["auc"] is not None:
            details = {name: row[f"auc{name}"] for name in _BESIDE}
            found.append(self._score(row, "auc_by_meaning", row["auc"], {**details, **_control(row, "auc_")}))
        return found

    def _score(self, row: Mapping[str, Any], kind: str, value: float, details: Mapping[str, Any]) -> dict[str, Any]:
        judged = self._model if kind in ("detection", "fuzzing") else _NAME
        beside = {name.removeprefix("_"): one for name, one in details.items()}
        return {
            "explanationId": self._id(row), "explanationScoreTypeName": f"{_NAME}_{kind}",
            "explanationScoreModelName": judged, "initiatedByUserId": self._author, "value": value,
            "jsonDetails": json.dumps(beside, sort_keys=True),
        }  # fmt: skip

    def _id(self, row: Mapping[str, Any]) -> str:
        text = f"{self._name} {row['feature']} {row['method']} {row['label']}"
        return "c" + hashlib.sha256(text.encode()).hexdigest()[:24]


def _control(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    permuted = row["auc_permuted"] if prefix else row["permuted_score"]
    ends = {name: row[f"{prefix}{name}"] for name in ("difference", "difference_low", "difference_high")}
    return {"permuted": permuted, "permuted_feature": row["permuted_feature"], **ends}
