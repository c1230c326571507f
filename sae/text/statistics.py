"""Figures of a tokens artifact. Lengths are of documents before packing: no padding, no separators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from configs.tokenize import TokenizeConfig
from sae.formats.tokens import Role, TokensInfo
from sae.text.flat_tokens import ChunkCounts
from sae.text.shard_layout import SplitLayout, row_length
from sae.text.tokenizer_spec import TokenizerSpec


def tokens_info(
    config: TokenizeConfig,
    spec: TokenizerSpec,
    counts: Sequence[ChunkCounts],
    layouts: Sequence[SplitLayout],
    roles: Mapping[str, Sequence[int]],
    mixture: Sequence[dict[str, Any]] = (),
) -> TokensInfo:
    """All that `tokens.json` says. `roles`: positions of each split's files by role; `mixture`: see TokensInfo."""
    splits = split_figures(layouts, roles, config.rows_per_shard)
    return TokensInfo(
        context_length=row_length(layouts, config),
        attention=config.attention,
        separator=config.separator,
        bos=spec.row_bos is not None,
        rows_per_shard=config.rows_per_shard,
        vocab_size=spec.vocab_size,
        bos_id=spec.bos_id,
        eos_id=spec.eos_id,
        pad_id=spec.pad_id,
        splits=splits,
        statistics=statistics(counts, splits, spec),
        packing=config.packing,
        truncation=config.truncation,
        truncation_side=config.truncation_side,
        stride=config.stride,
        padding=config.padding,
        padding_side=config.padding_side,
        mixture=list(mixture),
    )


def split_figures(
    layouts: Sequence[SplitLayout],
    roles: Mapping[str, Sequence[int]],
    rows_per_shard: int,
) -> dict[str, dict[str, Any]]:
    """By split: rows, tokens (all positions but padding), roles (positions by role), documents in the rows, shards.

    `rows_of_datasets`: rows of each dataset, of which a mixture has several. `divided_documents` have tokens in more than
    one row, `cut_documents` lost the `cut_tokens`.
    """
    figures = {}
    for layout in layouts:
        by_role = {role.name.lower(): roles[layout.split][role] for role in Role}
        figures[layout.split] = {
            "rows": layout.rows,
            "tokens": sum(by_role.values()) - by_role["pad"],
            "roles": by_role,
            "rows_of_datasets": list(layout.taken),
            **layout.documents._asdict(),
            "shards": -(-layout.rows // rows_per_shard),
        }
    return figures


def statistics(counts: Sequence[ChunkCounts], splits: dict[str, dict[str, Any]], spec: TokenizerSpec) -> dict[str, Any]:
    """Totals of the rows; lengths of all documents that were tokenized, with their histogram, and their unique tokens.

    Also the share of each split in percent of rows.
    """
    lengths: Counter[int] = Counter()
    for chunk in counts:
        for part in chunk.splits.values():
            lengths.update(part.lengths)
    data = sum(figures["roles"]["data"] for figures in splits.values())
    unique = len(seen_ids(counts, spec.id_limit))
    return {
        "rows": sum(figures["rows"] for figures in splits.values()),
        "tokens": sum(figures["tokens"] for figures in splits.values()),
        "data_tokens": data,
        "excluded": {
            role.name.lower(): sum(figures["roles"][role.name.lower()] for figures in splits.values())
            for role in Role
            if role is not Role.DATA
        },
        "documents": lengths.total(),
        "documents_without_tokens": sum(chunk.documents for chunk in counts) - lengths.total(),
        "document_tokens": length_figures(lengths),
        "vocab_size": spec.vocab_size,
        "unique_tokens": unique,
        "unique_percent": 100 * unique / spec.vocab_size,
        "split_percent": split_percent({name: figures["rows"] for name, figures in splits.items()}),
    }


def length_figures(lengths: Counter[int]) -> dict[str, Any]:
    """min, mean, median, max and a histogram [from, below, documents] over powers of two."""
    total = lengths.total()
    values = np.array(sorted(lengths), np.int64)
    upto = np.cumsum([lengths[int(value)] for value in values])
    middle = [int(values[np.searchsorted(upto, rank, "right")]) for rank in ((total - 1) // 2, total // 2)]
    bins: Counter[int] = Counter()
    for length, documents in lengths.items():
        bins[length.bit_length() - 1] += documents
    return {
        "min": int(values[0]),
        "mean": sum(length * n for length, n in lengths.items()) / total,
        "median": sum(middle) / 2,
        "max": int(values[-1]),
        "histogram": [[1 << power, 1 << (power + 1), bins[power]] for power in range(min(bins), max(bins) + 1)],
    }


def split_percent(rows: dict[str, int]) -> dict[str, float]:
    """Share of each split in percent with two decimals. They sum to 100: the largest remainders are rounded up."""
    total = sum(rows.values())
    exact = {name: 10_000 * n / total for name, n in rows.items()}
    floors = {name: int(value) for name, value in exact.items()}
    short = 10_000 - sum(floors.values())
    for name in sorted(exact, key=lambda name: (floors[name] - exact[name], name))[:short]:
        floors[name] += 1
    return {name: value / 100 for name, value in floors.items()}


def seen_ids(counts: Sequence[ChunkCounts], id_limit: int) -> list[int]:
    """Token ids that occur in the text, ascending."""
    seen = np.zeros(-(-id_limit // 8), np.uint8)
    for chunk in counts:
        seen |= np.frombuffer(chunk.seen, np.uint8)
    return [int(i) for i in np.flatnonzero(np.unpackbits(seen))]
