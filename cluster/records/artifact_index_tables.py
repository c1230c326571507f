"""The tables of facts: for each kind of artifact, the columns that people look for it by. A fact not known is null.

References are written `kind/id`. These are plain tables, not classes: every command would wait for their mapping.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Double, ForeignKeyConstraint, Index, String, Table

from cluster.records.tables import MAYBE_JSON, Base


def _texts(*names: str) -> list[Column[Any]]:
    return [Column(name, String) for name in names]


def _numbers(*names: str) -> list[Column[Any]]:
    return [Column(name, BigInteger) for name in names]


def _figures(*names: str) -> list[Column[Any]]:
    return [Column(name, Double) for name in names]


def _facts(name: str, kind: str, *parts: Any) -> Table:
    """A row of facts goes with its artifact's row, which is of that kind."""
    return Table(
        name,
        Base.metadata,
        Column("kind", String, primary_key=True),
        Column("id", String, primary_key=True),
        *parts,
        ForeignKeyConstraint(["kind", "id"], ["artifacts.kind", "artifacts.id"], ondelete="CASCADE"),
        CheckConstraint(f"kind = '{kind}'", name=f"is_of_{kind}"),
    )


# How much text there is, in all and by split.
DATASETS = _facts("datasets", "datasets", *_numbers("documents", "text_bytes"), Column("splits", MAYBE_JSON))
MODELS = _facts(
    "models",
    "models",
    *_texts("architecture"),
    *_numbers("d_model", "layers", "vocab_size", "parameters", "context_length"),
    *_texts("dtype"),
    Index("models_by_architecture", "architecture"),
)
TOKENIZATIONS = _facts(
    "tokenizations",
    "tokens",
    *_texts("dataset", "model"),
    *_numbers("context_length", "rows", "tokens", "data_tokens", "documents"),
    Column("splits", MAYBE_JSON),
    Index("tokenizations_by_dataset", "dataset"),
    Index("tokenizations_by_model", "model"),
)
# `hook` is the only one of the cache, null if it has several; `hooks` are all.
ACTIVATIONS = _facts(
    "activations",
    "activations",
    *_texts("model", "tokens", "hook"),
    Column("hooks", MAYBE_JSON),
    *_texts("dtype", "split"),
    *_numbers("rows"),
    Index("activations_by_model", "model", "hook"),
)
# `ev`, `l0` and `alive` (latents) are those of the SAE's last `evaluation`.
SAES = _facts(
    "saes",
    "saes",
    *_texts("model", "tokens", "hook", "architecture"),
    *_numbers("d_sae", "k"),
    *_texts("evaluation"),
    *_figures("ev", "l0"),
    *_numbers("alive"),
    Index("saes_by_model", "model", "hook"),
    Index("saes_by_tokens", "tokens"),
)
# `alive` counts latents; the scores are those against zero ablation.
EVALUATIONS = _facts(
    "evaluations",
    "evaluations",
    *_texts("sae", "split"),
    *_numbers("rows", "tokens"),
    *_figures("ev", "l0"),
    *_numbers("alive"),
    *_figures("ce_score", "kl_score"),
    Index("evaluations_by_sae", "sae"),
)
# Of `count` features of `sae`, `alive` fired on a data position.
FEATURE_SETS = _facts(
    "feature_sets",
    "features",
    *_texts("sae", "hook", "split"),
    *_numbers("rows", "data_positions", "count", "alive"),
    *_figures("l0"),
    Index("feature_sets_by_sae", "sae"),
)
