"""The `features` artifact: `features.parquet`, `examples.parquet` and `features.json`, to be queried in place.

`features.parquet` has one row a feature, in order:

| column | type | meaning |
|---|---|---|
| feature | int32 | latent of the SAE |
| count, density | int64, double | data positions where it is non-zero; the same over all data positions |
| sum, sum_squares, sum_cubes, sum_fourths | double | sums of powers of its activations over data positions |
| max | float | largest activation; 0 if it never fired |
| quantiles | list<float> | of its non-zero activations at `quantile_probabilities`, within 2% |
| part_edges | list<float> | edges of the parts that quantile examples are drawn from: one more than there are parts |
| histogram_bins | list<int16> | the i of which there are non-zero activations in [2^(i/18), 2^((i+1)/18)) |
| histogram_counts | list<int64> | how many there are |
| promoted, promoted_tokens | list<int32>, list<string> | tokens of the largest logits in the logit lens, descending |
| promoted_logits | list<float> | these logits, of the decoder direction as it is (unit norm) |
| suppressed, suppressed_tokens, suppressed_logits | likewise | the smallest, ascending |
| neighbours, neighbour_cosines | list<int32>, list<float> | other features, the largest cosine of directions first |
| hook_norms | list<float> | of crosscoders alone: length of the decoder direction at each of `hooks`, of scaled activations |

The lists of quantiles, edges and histogram are empty for a feature that never fired. Columns of tokens are null where
the logit lens has no meaning; `no_logit_lens` says why.

`examples.parquet` has one row an example, sorted by (feature, kind, part, rank): feature int32, kind (top, quantile or
uniform, in this order), part int16 (null but for quantile; 0 is the weakest), rank int32, row int64 and position int32
into the tokens, activation float, start int32 and acts list<float>: this feature's activations on the positions from
`start` of the same row (0 where it is silent and where the position is not data).

`features.json` is a `FeaturesInfo`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from configs.base import Config
from sae.formats.artifact_files import ArtifactFilesLike

FEATURES, EXAMPLES, INFO = "features.parquet", "examples.parquet", "features.json"
_ROW_GROUP = 1024  # features

FEATURES_SCHEMA = pa.schema(
    [("feature", pa.int32()), ("count", pa.int64()), ("density", pa.float64())]
    + [(name, pa.float64()) for name in ("sum", "sum_squares", "sum_cubes", "sum_fourths")]
    + [("max", pa.float32()), ("quantiles", pa.list_(pa.float32())), ("part_edges", pa.list_(pa.float32()))]
    + [("histogram_bins", pa.list_(pa.int16())), ("histogram_counts", pa.list_(pa.int64()))]
    + [
        (f"{side}{suffix}", pa.list_(kind))
        for side in ("promoted", "suppressed")
        for suffix, kind in (("", pa.int32()), ("_logits", pa.float32()), ("_tokens", pa.string()))
    ]
    + [("neighbours", pa.list_(pa.int32())), ("neighbour_cosines", pa.list_(pa.float32()))]
)
HOOK_NORMS = pa.field("hook_norms", pa.list_(pa.float32()))
EXAMPLES_SCHEMA = pa.schema(
    [("feature", pa.int32()), ("kind", pa.string()), ("part", pa.int16()), ("rank", pa.int32())]
    + [("row", pa.int64()), ("position", pa.int32()), ("activation", pa.float32())]
    + [("start", pa.int32()), ("acts", pa.list_(pa.float32()))]
)


def features_schema(of_crosscoder: bool) -> pa.Schema:
    """Columns of features.parquet."""
    return FEATURES_SCHEMA.append(HOOK_NORMS) if of_crosscoder else FEATURES_SCHEMA


class FeaturesError(ValueError):
    """A features artifact that cannot be used; the message says which file and what would be right."""


class FeaturesInfo(Config):
    """What `features.json` says."""

    format: Literal[1] = Field(default=1, description="Version of this format.")
    hook: str = Field(description="Hook that the SAE reads; of a crosscoder several names: see hooks.")
    hooks: tuple[str, ...] | None = Field(
        None, description="Hooks of a crosscoder; not there for others.", exclude_if=lambda hooks: hooks is None
    )
    split: str = Field(description="Split of the tokens.")
    rows: int = Field(description="Rows from the start of the split that were read.")
    context_length: int = Field(description="Positions in a row.")
    tokens: int = Field(description="Positions read: rows times context_length.")
    data_positions: int = Field(description="Positions that are data at this hook: what densities count against.")
    excluded: dict[str, int] = Field(description="Positions left out, by reason; with the data they make `tokens`.")
    n_features: int = Field(description="Width of the SAE.")
    alive: int = Field(description="Features that fired on a data position.")
    l0: float = Field(description="Active features on a data position, on average.")
    quantile_probabilities: tuple[float, ...] = Field(description="Of the column `quantiles`.")
    histogram: dict[str, int] = Field(description="Bins per octave, lowest i, and number of bins.")
    window: dict[str, int] = Field(description="Positions before and after an example whose activations are stored.")
    no_logit_lens: str | None = Field(description="Why no tokens are promoted or suppressed; null if there is a lens.")
    settings: dict[str, Any] = Field(description="The science part of the extract config, without the SAE.")
    inputs: dict[str, str] = Field(description="Artifacts read: sae, model and tokens.")


def hook_shares(info: FeaturesInfo, row: Mapping[str, Any]) -> dict[str, float] | None:
    """Share of the decoder's norm that a feature has at each hook of a crosscoder; None for the SAE of one hook."""
    if info.hooks is None:
        return None
    total = sum(row["hook_norms"]) or 1.0
    return {hook: norm / total for hook, norm in zip(info.hooks, row["hook_norms"], strict=True)}


def write_info(path: Path, info: FeaturesInfo) -> None:
    """Writes `features.json`."""
    path.write_text(json.dumps(info.model_dump(mode="json"), indent=2, sort_keys=True) + "\n", encoding="utf-8")


class TableWriter:
    """Writes `features.parquet` or `examples.parquet` block by block. Equal blocks give equal bytes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        dictionaries = ["kind"] if "kind" in schema.names else False
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=dictionaries)

    def write(self, columns: dict[str, Any]) -> None:
        """Writes one row group. Raises KeyError for a missing column."""
        arrays = [_array(columns[field.name], field.type) for field in self._schema]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def feature_blocks(n_features: int) -> list[tuple[int, int]]:
    """The ranges of features that make up row groups of both tables."""
    return [(first, min(first + _ROW_GROUP, n_features)) for first in range(0, n_features, _ROW_GROUP)]


class FeaturesReader:
    """Reads a features artifact. Raises FeaturesError if it is not one."""

    def __init__(self, files: ArtifactFilesLike) -> None:
        missing = {FEATURES, EXAMPLES, INFO} - set(files.names)
        if missing:
            raise FeaturesError(f"these are not features: there is no {', '.join(sorted(missing))}")
        path = files.path(INFO)
        try:
            self.info = FeaturesInfo.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise FeaturesError(f"{path} is not a description of features: {error}; extract again") from None
        self._files = files

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the features were extracted with."""
        return self.info.settings

    def features(self, columns: Sequence[str] | None = None) -> pa.Table:
        """One row a feature, in order; all columns if none are named."""
        return self._read(FEATURES, columns, None)

    def feature(self, feature: int) -> dict[str, Any]:
        """All columns of one feature. Raises FeaturesError for one that the SAE has not."""
        self._check([feature])
        row: dict[str, Any] = self._read(FEATURES, None, [feature]).to_pylist()[0]
        return row

    def examples(self, features: Sequence[int] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Examples of some features (of all if not given), sorted by (feature, kind, part, rank).

        Reads only the row groups that hold them. Raises FeaturesError for a feature that the SAE has not.
        """
        self._check(features or ())
        if features is not None and len(features) == 0:
            return EXAMPLES_SCHEMA.empty_table() if columns is None else EXAMPLES_SCHEMA.empty_table().select(columns)
        return self._read(EXAMPLES, columns, None if features is None else sorted({int(f) for f in features}))

    def _check(self, features: Sequence[int]) -> None:
        wrong = [f for f in features if not 0 <= f < self.info.n_features]
        if wrong:
            raise FeaturesError(f"there is no feature {wrong[0]}: they are 0 to {self.info.n_features - 1}")

    def _read(self, name: str, columns: Sequence[str] | None, features: list[int] | None) -> pa.Table:
        path = self._files.path(name)
        filters = None if features is None else [("feature", "in", features)]
        try:
            return pq.read_table(path, columns=None if columns is None else list(columns), filters=filters)
        except (OSError, pa.ArrowException) as error:
            raise FeaturesError(f"cannot read {path}: {error}; extract again") from None
