"""What a model server said of some features, beside the other files of a `labels` artifact that asked one.

`text_labels.parquet` has one row a feature that was asked about, in order:

| column | type | meaning |
|---|---|---|
| feature | int32 | latent of the SAE |
| status | string | labelled; obscure (by the server's own word); unreadable answers; silent: too few active examples to ask |
| label, prompt_hash | string | the label in words; the hash of the question |
| prompt_tokens, completion_tokens, cost | int64, int64, double | what the label took, without its judgements |
| explain_score, explain_best | double | balanced accuracy on further explain examples, of it and of the best other label |
| permuted_feature | int32 | the other feature whose label is the control |
| detection, fuzzing | struct | judgements on test examples: of whole texts, and of marked tokens; null without enough of them |

The structs have score, low, high, near, random, permuted, difference, difference_low, difference_high (double); active, silent
and unjudged (int32): examples of each kind, and those without a readable answer.

`answers.parquet` has one row a question, in order of its hash: prompt_hash, answer (strings), whole (bool: it was not cut
short), prompt_tokens, completion_tokens, requests (int64: how often it was asked because the server was busy).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.label_endpoint import TokenPrices
from sae.formats.labels import TEXT_LABELS
from sae.labels.endpoint.asking import Answered
from sae.labels.endpoint.text_labels import TestScore, TextLabel
from sae.metrics.intervals import Estimate

ANSWERS = "answers.parquet"

_TEST = pa.struct(
    [(name, pa.float64()) for name in ("score", "low", "high", "near", "random", "permuted")]
    + [(name, pa.float64()) for name in ("difference", "difference_low", "difference_high")]
    + [(name, pa.int32()) for name in ("active", "silent", "unjudged")]
)
_TOKENS = [("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64())]
TEXT_LABELS_SCHEMA = pa.schema(
    [("feature", pa.int32()), ("status", pa.string()), ("label", pa.string()), ("prompt_hash", pa.string())]
    + _TOKENS
    + [(name, pa.float64()) for name in ("cost", "explain_score", "explain_best")]
    + [("permuted_feature", pa.int32()), ("detection", _TEST), ("fuzzing", _TEST)]
)
ANSWERS_SCHEMA = pa.schema(
    [("prompt_hash", pa.string()), ("answer", pa.string()), ("whole", pa.bool_())]
    + _TOKENS
    + [("requests", pa.int64())]
)


def write_text_labels(
    folder: Path, labels: Iterable[TextLabel], answers: Mapping[str, Answered], prices: TokenPrices
) -> list[str]:
    """Writes both files and returns their names."""
    rows = [_row(one, prices) for one in labels]
    said = [
        {"prompt_hash": name, "answer": one.text, **{key: getattr(one, key) for key in ANSWERS_SCHEMA.names[2:]}}
        for name, one in answers.items()
    ]
    for name, table in ((TEXT_LABELS, (rows, TEXT_LABELS_SCHEMA)), (ANSWERS, (said, ANSWERS_SCHEMA))):
        pq.write_table(pa.Table.from_pylist(*table), folder / name, compression="zstd")
    return [TEXT_LABELS, ANSWERS]


def _row(one: TextLabel, prices: TokenPrices) -> dict[str, Any]:
    cost = (one.prompt_tokens * prices.prompt + one.completion_tokens * prices.completion) / 1e6
    return {
        "feature": one.feature,
        "status": one.status,
        "label": one.text,
        "prompt_hash": one.hash,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "cost": cost,
        "explain_score": _value(one.explain),
        "explain_best": _value(one.explain_best),
        "permuted_feature": one.permuted_feature,
        "detection": _test(one.detection),
        "fuzzing": _test(one.fuzzing),
    }


def _test(found: TestScore | None) -> dict[str, Any] | None:
    if found is None:
        return None
    own, gained = found.own.both.body(), found.difference.body()
    return {
        "score": own["value"],
        "low": own["low"],
        "high": own["high"],
        "near": _value(found.own.near),
        "random": _value(found.own.random),
        "permuted": found.permuted.both.value,
        "difference": gained["value"],
        "difference_low": gained["low"],
        "difference_high": gained["high"],
        "active": len(found.examples.active),
        "silent": found.examples.total - len(found.examples.active),
        "unjudged": found.unjudged,
    }


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
