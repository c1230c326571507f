"""Rows of tokens with the columns of their documents, as `metadata_columns` of the tokenize stage keeps them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sae.formats.artifact_files import ArtifactFilesLike
from sae.formats.tokens import TokensError, load_info, shard_name
from sae.quoting import listed, quoted

Int64 = NDArray[np.int64]


class LabelledRows(NamedTuple):
    """Rows of a split, which have one document each: its number int64 [n], the row's `offset` in it int64 [n], and columns.

    A document that is longer than a row has several. `values` has a text or None for each row, by the column's name.
    """

    document: Int64
    offset: Int64
    values: dict[str, list[str | None]]


def read_labelled_rows(files: ArtifactFilesLike, split: str, columns: list[str]) -> LabelledRows:
    """Reads `columns` of every row of `split`, without its tokens.

    Raises TokensError for a split without rows, packed documents, or a column that the tokens do not have.
    """
    info = load_info(files)
    rows = info.splits.get(split, {}).get("rows", 0)
    if not rows:
        present = [name for name, counts in info.splits.items() if counts["rows"]]
        raise TokensError(f"there are no tokens of split {split!r}; there are {', '.join(present) or 'none'}")
    if info.packing != "off":
        raise TokensError(
            f"these tokens are packed (`packing: {info.packing}`), so that a row has several documents that see each other: "
            "tokenize with `packing: off` and with the columns of labels in `metadata_columns`"
        )
    shards = -(-rows // info.rows_per_shard)
    tables = [_read(files, shard_name(split, number), columns) for number in range(shards)]
    document, offset = (np.concatenate([table[i] for table in tables]) for i in (0, 1))
    values = {name: [value for table in tables for value in table[2][name]] for name in columns}
    return LabelledRows(document, offset, values)


def _read(files: ArtifactFilesLike, name: str, columns: list[str]) -> tuple[Int64, Int64, dict[str, list[str | None]]]:
    """Documents, offsets and columns of one shard."""
    try:
        with pq.ParquetFile(files.path(name)) as shard:
            _check_columns(shard.schema_arrow, columns)
            table = shard.read(columns=["segments", "metadata"])
    except (OSError, pa.ArrowException) as error:
        raise TokensError(f"cannot read rows of {name}: {error}; tokenize again") from None
    segments, metadata = (table.column(one).combine_chunks() for one in ("segments", "metadata"))
    counts = np.diff(segments.offsets.to_numpy())
    if not (counts == 1).all():
        raise TokensError(f"{name}: row {int(np.flatnonzero(counts != 1)[0])} has not one document; tokenize again")
    records, kept = segments.flatten(), metadata.flatten()
    values = {column: kept.field(column).to_pylist() for column in columns}
    return records.field("doc").to_numpy(), records.field("offset").to_numpy(), values


def _check_columns(schema: pa.Schema, columns: list[str]) -> None:
    kept = [field.name for field in schema.field("metadata").type.value_type] if "metadata" in schema.names else []
    absent = [name for name in columns if name not in kept]
    if absent:
        has = f"have {listed(quoted(name) for name in kept)}" if kept else "keep no columns"
        raise TokensError(
            f"these tokens have no column {quoted(absent[0])}: they {has}. Tokenize with "
            f"`metadata_columns: [{absent[0][:80]}]`"
        )
