"""Which documents of a dataset are tokenized, and of which split each is."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from configs.tokenize import Resplit, TokenizeConfig
from sae.formats.dataset import DatasetInfo
from sae.quoting import listed, quoted
from sae.text.splits import hashed_split
from sae.text.tokenizer_spec import TokenizeError


def check_columns(info: DatasetInfo, config: TokenizeConfig, where: str) -> None:
    """Raises TokenizeError if the config names a column that the dataset does not have."""
    absent = [name for name in extra_columns(config) if name not in info.columns]
    if absent:
        others = listed(info.columns) if info.columns else "none"
        raise TokenizeError(f"{where} has no column {quoted(absent[0])}: beside the text it has {others}")


def extra_columns(config: TokenizeConfig) -> list[str]:
    """Columns of the dataset that are read beside doc, split and text."""
    group = config.resplit.group_column if config.resplit is not None else None
    return list(dict.fromkeys([*([] if group is None else [group]), *config.metadata_columns]))


def chosen_documents(documents: pa.Table, config: TokenizeConfig) -> pa.Table:
    """Documents (columns doc, split, text and extra_columns) of the wanted splits, with the split that each is of now."""
    if config.resplit is not None:
        index = documents.column_names.index("split")
        documents = documents.set_column(index, "split", pa.array(_splits(documents, config.resplit), pa.string()))
    wanted = pc.is_in(documents.column("split"), pa.array(config.splits, pa.string()))
    return documents if pc.all(wanted).as_py() else documents.filter(wanted)  # which copies


def metadata_of(documents: pa.Table, config: TokenizeConfig) -> pa.StructArray | None:
    """The columns to keep with the tokens, a struct for each document; None if the config wants none."""
    if not config.metadata_columns:
        return None
    columns = [text_column(documents, name).combine_chunks() for name in config.metadata_columns]
    return pa.StructArray.from_arrays(columns, names=list(config.metadata_columns))


def text_column(documents: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of the dataset as text; null where a file of the dataset does not have it. Raises TokenizeError."""
    if name not in documents.column_names:
        return pa.chunked_array([pa.nulls(documents.num_rows, pa.large_string())])
    column = documents.column(name)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise TokenizeError(f"column {quoted(name)} of the dataset holds {column.type}, and text is needed here")
    return column.cast(pa.large_string())


def _splits(documents: pa.Table, resplit: Resplit) -> list[str]:
    """The split of each document. One without a value in the group column goes by its own text."""
    texts = documents.column("text").to_pylist()
    groups = [None] * len(texts)
    if resplit.group_column is not None:
        groups = text_column(documents, resplit.group_column).to_pylist()
    return [
        hashed_split(text if group is None else group, resplit.test, resplit.validation, resplit.seed)
        for text, group in zip(texts, groups, strict=True)
    ]
