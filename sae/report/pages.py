"""The pages of the chosen features: statistics, tokens, neighbours, and examples as tokens with activations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sae.formats.features import FeaturesInfo, hook_shares
from sae.formats.tokens import TokenRows
from sae.report.overview import digits
from sae.report.shown_example import shown_example
from sae.report.sources import Sources
from sae.report.string_table import Strings

Drawn = tuple[str, int | None, Any]  # kind, quantile part, the example as the page reads it
_BARS = 36


def feature_pages(sources: Sources, chosen: Sequence[int], context_tokens: int, strings: Strings) -> dict[int, Any]:
    """The page of each chosen feature, as a JSON value. Shows at most `context_tokens` tokens on each side."""
    table = sources.features.features().take(pa.array(chosen, pa.int64()))
    examples = sources.features.examples(chosen)
    shown = _shown(sources, examples, context_tokens, strings)
    by_feature: dict[int, list[Drawn]] = {feature: [] for feature in chosen}
    keys = (examples[column].to_pylist() for column in ("feature", "kind", "part"))
    for feature, kind, part, value in zip(*keys, shown, strict=True):
        by_feature[feature].append((kind, part, value))
    return {row["feature"]: _page(row, by_feature[row["feature"]], sources, strings) for row in _rows(table)}


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=64):
        yield from batch.to_pylist()


def _page(row: dict[str, Any], examples: list[Drawn], sources: Sources, strings: Strings) -> dict[str, Any]:
    def tokens(side: str) -> list[list[Any]]:
        if row[side] is None:  # there is no logit lens
            return []
        texts = strings.add_all(sources.token_text.string(token) for token in row[side])
        return [[text, digits(logit)] for text, logit in zip(texts, row[f"{side}_logits"], strict=True)]

    info = sources.features.info
    return {
        "facts": [*_facts(row, info.data_positions, info.quantile_probabilities), *_shares(row, info)],
        "hist": _histogram(row["histogram_bins"], row["histogram_counts"], info.histogram),
        "up": tokens("promoted"),
        "down": tokens("suppressed"),
        "near": [[n, digits(c, 3)] for n, c in zip(row["neighbours"], row["neighbour_cosines"], strict=True)],
        "sections": _sections(examples, row["part_edges"]),
    }


def _facts(row: dict[str, Any], positions: int, probabilities: tuple[float, ...]) -> list[list[str | None]]:
    """Statistics beyond those of the table: [name, value, note]."""
    n = row["count"]
    facts: list[list[str | None]] = [["Active positions", f"{n:,}", f"of {positions:,}"]]
    if n:
        mean = row["sum"] / n
        deviation = math.sqrt(max(0.0, row["sum_squares"] / n - mean * mean))
        facts.append(["Std. deviation", _three(deviation), "when active"])
    quantile = dict(zip(probabilities, row["quantiles"], strict=False))
    if 0.5 in quantile:
        spread = (
            f"90%: {_three(quantile[0.9])}, 99%: {_three(quantile[0.99])}" if {0.9, 0.99} <= quantile.keys() else None
        )
        facts.append(["Median when active", _three(quantile[0.5]), spread])
    return facts


def _shares(row: dict[str, Any], info: FeaturesInfo) -> list[list[str | None]]:
    """What of a crosscoder's feature is at each hook, as facts."""
    shares = hook_shares(info, row) or {}
    return [[f"Norm at {hook}", f"{share:.0%}", "of the decoder's"] for hook, share in shares.items()]


def _three(value: float) -> str:
    """Three significant digits, zeros included."""
    return f"{value:#.3g}" if 1e-4 <= value < 100 else f"{value:.0f}" if 100 <= value < 1e6 else f"{value:.3g}"


def _histogram(bins: list[int], counts: list[int], histogram: dict[str, int]) -> list[list[float | int]]:
    """Bars [from, to, count] in log10 of the activation. Neighbouring bins are joined until the bars are few."""
    if not bins:
        return []
    per_octave = histogram["per_octave"]
    joined = next(j for j in (1, 2, 3, 6, 9, 18, 36, 10**6) if (bins[-1] - bins[0]) // j < _BARS)
    low, high = bins[0] // joined, bins[-1] // joined
    sums = [0] * (high - low + 1)
    for i, count in zip(bins, counts, strict=True):
        sums[i // joined - low] += count
    edge = [digits((low + i) * joined / per_octave * math.log10(2), 5) for i in range(len(sums) + 1)]
    return [[edge[i], edge[i + 1], count] for i, count in enumerate(sums)]


def _sections(examples: list[Drawn], edges: list[float]) -> list[dict[str, Any]]:
    """Top examples, each quantile part from the strongest down, and the uniform ones."""
    parts = len(edges) - 1
    top = "The positions with the largest activations."
    found = [{"name": "Top", "note": top, "examples": _of(examples, "top", None)}]
    for part in reversed(range(parts)):
        share = f"{100 * part // parts}–{100 * (part + 1) // parts}%"
        extreme = " (strongest)" if part == parts - 1 else " (weakest)" if part == 0 else ""
        note = (
            f"Drawn from the activations between {_three(edges[part])} and {_three(edges[part + 1])}: "
            f"part {part + 1} of {parts} equal parts of the non-zero ones{extreme}."
        )
        found.append({"name": share, "note": note, "examples": _of(examples, "quantile", part)})
    note = "Drawn uniformly from all positions at which the feature is active: what a typical activation looks like."
    return [*found, {"name": "Uniform", "note": note, "examples": _of(examples, "uniform", None)}]


def _of(examples: list[Drawn], kind: str, part: int | None) -> list[Any]:
    return [value for k, p, value in examples if k == kind and p == part]


def _shown(sources: Sources, examples: pa.Table, context_tokens: int, strings: Strings) -> list[Any]:
    """Each example as [row, position, activation, first position, strings, [offset, activation, ...], [offsets that are
    not data]]. Tokens are read in order of rows, so each part of a shard is read once."""
    row, position, start = (examples[c].to_numpy() for c in ("row", "position", "start"))
    activation, acts = examples["activation"].to_numpy(), examples["acts"]
    found: list[Any] = [None] * len(row)
    current: tuple[int, TokenRows] | None = None
    for i in np.argsort(row, kind="stable").tolist():
        if current is None or current[0] != row[i]:
            current = int(row[i]), sources.tokens.read(int(row[i]), int(row[i]) + 1)
        here, values = int(position[i]), acts[i].as_py()
        one = shown_example(
            current[1], sources.tokens.attention, here, int(start[i]), values, sources.token_text, context_tokens
        )
        sparse = [x for at, value in enumerate(one.acts) if value for x in (at, digits(value))]
        texts = strings.add_all(one.texts)
        found[i] = [current[0], here, digits(float(activation[i])), one.first, texts, sparse, one.outside]
    return found
