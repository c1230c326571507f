"""The `labels` artifact: `features.parquet`, `labels.parquet` and `labels.json`, to be queried in place.

Other modules of this folder describe `coactivation.parquet`, `map.safetensors` and `search.safetensors`.

`features.parquet` has one row a feature, in order: feature int32, type (tokens, context, writer, both, positional, dense or
obscure), active_explain and active_test int64 (active positions in either part of the text), and of its best label, null
without one: label, method, label_score, permuted_score, difference, difference_low, difference_high and beats; then its score by
meaning: auc, auc_permuted, auc_difference, auc_difference_low and auc_difference_high. Of the label by a model server, be it the
best or not, null without one: detection, detection_permuted, fuzzing and fuzzing_permuted. Then what it
reads and does, null where that was not measured: input_score, output_score, ablation and promotion, each with its `_control`;
of the last two also `_difference`, `_low`, `_high` and `_p` (see `sae.labels.effect_columns`).

`labels.parquet` has one row a label, sorted by feature, its best first:

| column | type | meaning |
|---|---|---|
| feature, rank | int32 | latent of the SAE; 0 is its best label |
| method | string | tokens, phrases, context, promoted, neighbours or endpoint |
| label | string | the predicate in words; of method endpoint the server's words, without a predicate |
| phrases, context, follows | list<list<string>>, list<string>, bool | the predicate: see `sae.labels.predicate` |
| inherited_from | int32 | the neighbour that the label was made for; null if it is the feature's own |
| evidence_rows, evidence_positions | list<int64>, list<int32> | active positions that it was made from, strongest first |
| score, score_low, score_high | double | balanced accuracy on test examples, with its 95% interval |
| score_near, score_random | double | the same with near misses, and with random positions, alone as silent examples |
| precision, recall | double | over all test positions, exactly; null for method endpoint, whose score is by detection |
| permuted_feature | int32 | the other feature whose label of this method is the control |
| permuted_score | double | balanced accuracy of that label on the same examples |
| difference, difference_low, difference_high | double | score less permuted_score, with its 95% interval |
| beats | bool | whether the whole interval of the difference is above 0 |
| auc, auc_low, auc_high | double | ROC-AUC of the likeness of the label's words to text, see `sae.labels.embedding_scores` |
| auc_near, auc_random | double | the same with near misses, and with random positions, alone as silent examples |
| auc_permuted | double | the same of the permuted label, on the same examples |
| auc_difference, auc_difference_low, auc_difference_high | double | auc less auc_permuted, with its 95% interval |
| test_active, test_near, test_random | int32 | test examples of each kind |

`labels.json` is a `LabelsInfo`. Labels that a model server was asked for have two more files: see `sae.formats.text_labels`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from configs.base import Config
from sae.formats.artifact_files import ArtifactFilesLike
from sae.labels.effect_columns import COLUMNS

FEATURES, LABELS, INFO = "features.parquet", "labels.parquet", "labels.json"
TEXT_LABELS = "text_labels.parquet"  # only of labels that a model server was asked for

_SCORES = ("score", "score_low", "score_high", "score_near", "score_random", "precision", "recall")
_DIFFERENCE = ("permuted_score", "difference", "difference_low", "difference_high")
_EMBEDDING = ("auc", "auc_permuted", "auc_difference", "auc_difference_low", "auc_difference_high")
_ENDPOINT = ("detection", "detection_permuted", "fuzzing", "fuzzing_permuted")
FEATURES_SCHEMA = pa.schema(
    [("feature", pa.int32()), ("type", pa.string()), ("active_explain", pa.int64()), ("active_test", pa.int64())]
    + [("label", pa.string()), ("method", pa.string()), ("label_score", pa.float64())]
    + [(name, pa.float64()) for name in _DIFFERENCE]
    + [("beats", pa.bool_())]
    + [(name, pa.float64()) for name in (*_EMBEDDING, *_ENDPOINT, *COLUMNS)]
)
LABELS_SCHEMA = pa.schema(
    [("feature", pa.int32()), ("rank", pa.int32()), ("method", pa.string()), ("label", pa.string())]
    + [("phrases", pa.list_(pa.list_(pa.string()))), ("context", pa.list_(pa.string())), ("follows", pa.bool_())]
    + [("inherited_from", pa.int32())]
    + [("evidence_rows", pa.list_(pa.int64())), ("evidence_positions", pa.list_(pa.int32()))]
    + [(name, pa.float64()) for name in _SCORES]
    + [("permuted_feature", pa.int32())]
    + [(name, pa.float64()) for name in _DIFFERENCE]
    + [("beats", pa.bool_())]
    + [(name, pa.float64()) for name in (*_EMBEDDING, "auc_low", "auc_high", "auc_near", "auc_random")]
    + [(f"test_{kind}", pa.int32()) for kind in ("active", "near", "random")]
)


class LabelsError(ValueError):
    """A labels artifact that cannot be used; the message says which file and what would be right."""


class LabelsInfo(Config):
    """What `labels.json` says."""

    format: Literal[1] = Field(default=1, description="Version of this format.")
    rows: int = Field(description="Rows from the start of the split that labels were found in and tested on.")
    explain_positions: int = Field(description="Data positions of documents that labels were made from.")
    test_positions: int = Field(description="Data positions of the other documents, that labels were scored on.")
    n_features: int = Field(description="Width of the SAE.")
    coactivation_positions: int = Field(
        default=0,
        description="Data positions that co-activation was counted on; all, but for very many active latents.",
    )
    labelled: int = Field(description="Features with at least one scored label.")
    beats: int = Field(description="Features whose best label beats its permuted one with a 95% interval.")
    types: dict[str, int] = Field(description="Features by type.")
    effects: dict[str, int] = Field(
        description="Features whose effect was measured; those where ablation or promotion is above its control (95%), and "
        "those of them that are more than chance makes of so many (one in twenty may be false)."
    )
    steering: dict[str, Any] | None = Field(
        description="One example of steering: answers without a change, with a feature and with its control; null: none."
    )
    endpoint: dict[str, Any] | None = Field(
        default=None,
        description="The model server that was asked: url, model, questions, requests, tokens and cost; not there: none.",
    )
    settings: dict[str, Any] = Field(description="The science part of the label config, without the features.")
    inputs: dict[str, str] = Field(description="Artifacts read: features, sae, model and tokens.")


def write_labels(
    folder: Path, features: list[dict[str, Any]], labels: list[dict[str, Any]], info: LabelsInfo
) -> list[str]:
    """Writes the three files and returns their names. Equal rows give equal bytes."""
    for name, rows, schema in ((FEATURES, features, FEATURES_SCHEMA), (LABELS, labels, LABELS_SCHEMA)):
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / name, compression="zstd", row_group_size=4096)
    body = info.model_dump(mode="json", exclude={"endpoint"} if info.endpoint is None else None)
    (folder / INFO).write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", "utf-8")
    return [FEATURES, LABELS, INFO]


class LabelsReader:
    """Reads a labels artifact. Raises LabelsError if it is not one."""

    def __init__(self, files: ArtifactFilesLike) -> None:
        missing = {FEATURES, LABELS, INFO} - set(files.names)
        if missing:
            raise LabelsError(f"these are not labels: there is no {', '.join(sorted(missing))}")
        path = files.path(INFO)
        try:
            self.info = LabelsInfo.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors()[:5])
            raise LabelsError(
                f"{path} was made by another version of the label stage (wrong or missing: {wrong}): label the features again"
            ) from None
        self._files = files

    def features(self) -> pa.Table:
        """One row a feature, in order."""
        return _whole(self._read(FEATURES), FEATURES_SCHEMA)

    def labels(self, feature: int) -> list[dict[str, Any]]:
        """The labels of one feature, best first. Raises LabelsError for one that the SAE has not."""
        if not 0 <= feature < self.info.n_features:
            raise LabelsError(f"there is no feature {feature}: they are 0 to {self.info.n_features - 1}")
        return self.labels_between(feature, feature + 1)

    def labels_between(self, first: int, stop: int) -> list[dict[str, Any]]:
        """The labels of the features `first` to `stop` - 1, by feature, best first."""
        found = _whole(self._read(LABELS, [("feature", ">=", first), ("feature", "<", stop)]), LABELS_SCHEMA)
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def fuzzing(self, feature: int) -> dict[str, Any] | None:
        """The score by fuzzing of a feature's label in words (see `sae.formats.text_labels`); None without one."""
        if self.info.endpoint is None:
            return None
        rows = self._read(TEXT_LABELS, [("feature", "=", feature)]).to_pylist()
        return rows[0]["fuzzing"] if rows else None

    def _read(self, name: str, filters: list[tuple[str, str, int]] | None = None) -> pa.Table:
        path = self._files.path(name)
        try:
            return pq.read_table(path, filters=filters)
        except (OSError, pa.ArrowException) as error:
            raise LabelsError(f"cannot read {path}: {error}; label again") from None


def _whole(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """With all columns: those that the version which wrote the table did not have are null."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table
