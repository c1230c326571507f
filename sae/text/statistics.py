"""Figures of a tokens artifact, from counts of chunks that add up. Lengths are of documents before packing: no padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from configs.data_positions import SPEAKERS
from configs.tokenize import TokenizeConfig
from sae.formats.tokens import SPLITS, Role, TokensInfo
from sae.report.token_text import TokenText
from sae.text.distributions import coverage, length_figures, missing_splits, split_percent
from sae.text.flat_tokens import ChunkCounts
from sae.text.packing import ShardCounts
from sae.text.shard_layout import SplitLayout, row_length
from sae.text.token_counts import add_counts, most_frequent
from sae.text.tokenizer_spec import TokenizerSpec


def tokens_info(
    config: TokenizeConfig,
    spec: TokenizerSpec,
    counts: Sequence[ChunkCounts],
    layouts: Sequence[SplitLayout],
    positions: Mapping[str, ShardCounts],
    mixture: Sequence[dict[str, Any]] = (),
) -> TokensInfo:
    """All that `tokens.json` says. `positions`: what each split's files hold; `mixture`: see TokensInfo."""
    splits = split_figures(layouts, positions, config.rows_per_shard)
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
    positions: Mapping[str, ShardCounts],
    rows_per_shard: int,
) -> dict[str, dict[str, Any]]:
    """By split: rows, tokens (all positions but padding), roles (positions by role), documents in the rows, shards.

    `rows_of_datasets`: rows of each dataset, of which a mixture has several. `divided_documents` have tokens in more than
    one row, `cut_documents` lost the `cut_tokens`. `speakers`, if there are chats: tokens of documents by speaker.
    """
    figures = {}
    for layout in layouts:
        roles, speakers = positions[layout.split]
        by_role = {role.name.lower(): roles[role] for role in Role}
        figures[layout.split] = {
            "rows": layout.rows,
            "tokens": sum(by_role.values()) - by_role["pad"],
            "roles": by_role,
            "rows_of_datasets": list(layout.taken),
            **layout.documents._asdict(),
            "shards": -(-layout.rows // rows_per_shard),
            **({"speakers": dict(zip(SPEAKERS, speakers, strict=True))} if speakers else {}),
        }
    return figures


def statistics(counts: Sequence[ChunkCounts], splits: dict[str, dict[str, Any]], spec: TokenizerSpec) -> dict[str, Any]:
    """Totals of the rows and the share of each split; lengths of all documents that were tokenized, and their tokens.

    `unique_tokens`, `coverage` and `top_tokens` are of the documents' own text: without what was put into rows.
    """
    lengths: Counter[int] = Counter()
    for chunk in counts:
        for part in chunk.splits.values():
            lengths.update(part.lengths)
    data = sum(figures["roles"]["data"] for figures in splits.values())
    occurrences = add_counts((chunk.tokens for chunk in counts), spec.id_limit)
    unique = int(np.count_nonzero(occurrences))
    spoken = [figures["speakers"] for figures in splits.values() if "speakers" in figures]
    return {
        "rows": sum(figures["rows"] for figures in splits.values()),
        "tokens": sum(figures["tokens"] for figures in splits.values()),
        "data_tokens": data,
        "excluded": {
            role.name.lower(): sum(figures["roles"][role.name.lower()] for figures in splits.values())
            for role in Role
            if role is not Role.DATA
        },
        **({"speakers": {name: sum(one[name] for one in spoken) for name in SPEAKERS}} if spoken else {}),
        "documents": lengths.total(),
        "documents_without_tokens": sum(chunk.documents for chunk in counts) - lengths.total(),
        "document_tokens": length_figures(lengths),
        "vocab_size": spec.vocab_size,
        "unique_tokens": unique,
        "unique_percent": 100 * unique / spec.vocab_size,
        "coverage": coverage(occurrences),
        "top_tokens": most_frequent(occurrences, TokenText(spec.tokenizer_json)),
        "split_percent": split_percent({name: figures["rows"] for name, figures in splits.items()}),
        "missing_splits": missing_splits(splits, SPLITS),
    }


def seen_ids(counts: Sequence[ChunkCounts], id_limit: int) -> list[int]:
    """Token ids that occur in the text, ascending."""
    return [int(i) for i in np.flatnonzero(add_counts((chunk.tokens for chunk in counts), id_limit))]
