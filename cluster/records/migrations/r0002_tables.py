"""The tables that revision 0002 adds, as they were then."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

_OF_ARTIFACT = (["kind", "id"], ["artifacts.kind", "artifacts.id"])


def create() -> None:
    """Makes them."""
    op.create_table("counters", _text("name", key=True), _number("value", null=False))
    op.create_table(
        "leases",
        _text("name", key=True),
        _text("holder", null=False),
        _real("until", null=False),
        _real("ttl_s", null=False),
        _number("renewals", null=False),
        _text("host", null=False),
        _number("pid", null=False),
        _text("process", null=False),
        _text("boot"),
        _real("boot_seconds", null=False),
        _json("data", null=False),
    )
    op.create_table(
        "job_tags",
        _text("tag", key=True),
        _number("seq", key=True),
        sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_job_tags_job_id", "job_tags", ["job_id"])
    op.create_table(
        "artifact_tags",
        _text("tag", key=True),
        _number("seq", key=True),
        _text("kind", null=False),
        _text("id", null=False),
        sa.ForeignKeyConstraint(*_OF_ARTIFACT, ondelete="CASCADE"),
    )
    op.create_index("artifact_tags_by_artifact", "artifact_tags", ["kind", "id"])
    op.create_table(
        "artifact_inputs",
        _text("kind", key=True),
        _text("id", key=True),
        _text("role", key=True),
        _text("input_kind", null=False),
        _text("input_id", null=False),
        sa.ForeignKeyConstraint(*_OF_ARTIFACT, ondelete="CASCADE"),
    )
    op.create_index("artifact_inputs_by_input", "artifact_inputs", ["input_kind", "input_id"])
    op.create_table(
        "feature_marks",
        _text("sae", key=True),
        _number("latent", key=True),
        sa.Column("starred", sa.Boolean(), nullable=False),
        _text("label", null=False),
        _text("notes", null=False),
        _text("updated_by", null=False),
        _real("updated_at", null=False),
    )
    _create_facts()


def _create_facts() -> None:
    _facts("datasets", "datasets", _number("documents"), _number("text_bytes"), _json("splits"))
    _facts(
        "models", "models", _text("architecture"), _number("d_model"), _number("layers"), _number("vocab_size"),
        _number("parameters"), _number("context_length"), _text("dtype"),
    )  # fmt: skip
    op.create_index("models_by_architecture", "models", ["architecture"])
    _facts(
        "tokenizations", "tokens", _text("dataset"), _text("model"), _number("context_length"), _number("rows"),
        _number("tokens"), _number("data_tokens"), _number("documents"), _json("splits"),
    )  # fmt: skip
    op.create_index("tokenizations_by_dataset", "tokenizations", ["dataset"])
    op.create_index("tokenizations_by_model", "tokenizations", ["model"])
    _facts(
        "activations", "activations", _text("model"), _text("tokens"), _text("hook"), _json("hooks"), _text("dtype"),
        _text("split"), _number("rows"),
    )  # fmt: skip
    op.create_index("activations_by_model", "activations", ["model", "hook"])
    _facts(
        "saes", "saes", _text("model"), _text("tokens"), _text("hook"), _text("architecture"), _number("d_sae"),
        _number("k"), _text("evaluation"), _real("ev"), _real("l0"), _number("alive"),
    )  # fmt: skip
    op.create_index("saes_by_model", "saes", ["model", "hook"])
    op.create_index("saes_by_tokens", "saes", ["tokens"])
    _facts(
        "evaluations", "evaluations", _text("sae"), _text("split"), _number("rows"), _number("tokens"), _real("ev"),
        _real("l0"), _number("alive"), _real("ce_score"), _real("kl_score"),
    )  # fmt: skip
    op.create_index("evaluations_by_sae", "evaluations", ["sae"])
    _facts(
        "feature_sets", "features", _text("sae"), _text("hook"), _text("split"), _number("rows"),
        _number("data_positions"), _number("count"), _number("alive"), _real("l0"),
    )  # fmt: skip
    op.create_index("feature_sets_by_sae", "feature_sets", ["sae"])


def _facts(name: str, kind: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        name,
        _text("kind", key=True),
        _text("id", key=True),
        *columns,
        sa.ForeignKeyConstraint(*_OF_ARTIFACT, ondelete="CASCADE"),
        sa.CheckConstraint(f"kind = '{kind}'", name=f"is_of_{kind}"),
    )


def _text(name: str, null: bool = True, key: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=null and not key, primary_key=key)


def _number(name: str, null: bool = True, key: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), nullable=null and not key, primary_key=key, autoincrement=False)


def _real(name: str, null: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.Double(), nullable=null)


def _json(name: str, null: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=null)
