"""Labelled documents as tokens, made by the functions of the tokenize stage in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sae.formats.tokens import Role, shard_name
from sae.text.flat_tokens import open_flat, write_flat
from sae.text.packing import ShardCounts, pack_shard
from sae.text.shard_layout import row_length, split_layouts, split_shards
from sae.text.statistics import tokens_info
from sae.text.tokenizer_spec import TokenizerSpec
from tests.sae.test_text_packing import TOKENIZER, settings_of
from tests.tiny_model import documents

LENGTH = 48


def labelled_texts(count: int) -> tuple[list[str], dict[str, list[str | None]]]:
    """Documents of the tiny model's grammar with their topic, and which half of the alphabet their person's name is of."""
    texts = documents(count, seed=11)
    words = [text.split() for text in texts]
    return texts, {
        "topic": [line[4] for line in words],
        "half": ["early" if line[0] < "Elena" else "late" for line in words],
    }


def write_labelled(folder: Path, ids: list[list[int]], columns: dict[str, list[str | None]], **options: Any) -> Path:
    """Writes documents of token `ids` with `columns`, one a row unless `options` of the tokenize stage say otherwise."""
    folder.mkdir()
    config = settings_of(LENGTH, per_shard=64, **{"packing": "off", "metadata_columns": list(columns), **options})
    arrays = [pa.array(columns[name], pa.large_string()) for name in config.metadata_columns]
    metadata = pa.StructArray.from_arrays(arrays, names=list(config.metadata_columns)) if arrays else None
    known, flat = TokenizerSpec(640, 640, 0, 0, 0, 0, 0, (0,), (0,), "text", TOKENIZER), folder.with_suffix(".arrow")
    counts = [write_flat(flat, list(range(len(ids))), ["train"] * len(ids), ids, known, metadata)]
    layouts = split_layouts(counts, known, config)
    positions = {layout.split: ShardCounts([0] * len(Role), []) for layout in layouts}
    for layout in layouts:
        for shard in split_shards(layout, config.rows_per_shard):
            path = folder / shard_name(shard.split, shard.number)
            made = pack_shard(shard, layout, lambda _: open_flat(flat), known, LENGTH, config, path)
            positions[shard.split] = positions[shard.split].add(made)
    assert row_length(layouts, config) == LENGTH
    tokens_info(config, known, counts, layouts, positions).save(folder / "tokens.json")
    return folder


def ids_of(texts: list[str], tokenizer: Any) -> list[list[int]]:
    """Token ids of texts."""
    return [list(np.asarray(one)) for one in tokenizer(texts)["input_ids"]]
