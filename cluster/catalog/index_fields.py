"""What artifacts are searched by: for each kind, the fields that are read from its manifests.

A new kind gets an entry in `INDEX`, and nothing else in the catalog. A manifest need not have all fields; no search finds
an artifact by one that it does not have.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Value = str | int | float


class Field(NamedTuple):
    """One field: its name in filters, where manifests have it ("summary.rows", or the first that there is of "a|b"), its type,
    and what it is.
    """

    name: str
    source: str
    type: Literal["text", "integer", "number"]
    description: str


def _texts(part: str, **descriptions: str) -> tuple[Field, ...]:
    return tuple(Field(name, f"{part}.{name}", "text", text) for name, text in descriptions.items())


def _integers(part: str, **descriptions: str) -> tuple[Field, ...]:
    return tuple(Field(name, f"{part}.{name}", "integer", text) for name, text in descriptions.items())


_SAE = Field("sae", "summary.sae", "text", "The SAE, as saes/ID.")
_SPLIT = Field("split", "summary.split", "text", "The split of the tokens.")
MEASURED = (
    Field("ev", "summary.ev", "number", "Explained variance on held-out data, at most 1."),
    Field("l0", "summary.l0", "number", "Active latents at a data position, mean."),
    Field("alive", "summary.alive", "integer", "Latents that were active at least once."),
)

INDEX: dict[str, tuple[Field, ...]] = {
    "datasets": _integers("summary", documents="Documents.", text_bytes="Bytes of text, in UTF-8."),
    "models": (
        *_texts("summary", architecture="Architecture, as its config names it.", dtype="Type of its weights."),
        *_integers("summary", d_model="Width of the residual stream.", vocab_size="Tokens of its vocabulary."),
        *_integers("summary", parameters="Parameters.", context_length="Most tokens of a context."),
        Field("layers", "summary.n_layers", "integer", "Blocks."),
    ),
    "tokens": (
        *_texts("inputs", dataset="The dataset, as datasets/ID.", model="Whose tokenizer, as models/ID."),
        *_integers("config", context_length="Tokens of a row."),
        *_integers("summary", rows="Rows.", tokens="Tokens.", data_tokens="Data positions.", documents="Documents."),
    ),
    "activations": (
        *_texts("inputs", model="The model, as models/ID.", tokens="The tokens, as tokens/ID."),
        Field("hook", "config.hooks", "text", "A hook whose activations it holds."),
        *_texts("config", dtype="Type of the stored values.", split="The split of the tokens."),
        *_integers("summary", rows="Rows."),
    ),
    # Figures of an SAE are those of its last evaluation: _measure copies them.
    "saes": (
        *_texts("inputs", model="The model, as models/ID.", tokens="The tokens, as tokens/ID."),
        Field("hook", "summary.sae.hook|summary.sae.hooks", "text", "A hook that it was trained at."),
        *_texts("summary.sae", architecture="Its architecture."),
        *_integers("summary.sae", d_sae="Latents.", k="Latents that TopK and BatchTopK keep."),
        Field("evaluation", "", "text", "Its last evaluation, as evaluations/ID."),
        *(field._replace(source="") for field in MEASURED),
    ),
    "evaluations": (
        *(_SAE, _SPLIT),
        *_integers("summary", rows="Rows that were measured.", tokens="Tokens that were measured."),
        *MEASURED,
        Field("ce_score", "summary.ce_score_zero", "number", "Cross-entropy recovered, against zero ablation."),
        Field("kl_score", "summary.kl_score_zero", "number", "KL divergence recovered, against zero ablation."),
    ),
    "probes": (
        _SAE,
        *_texts("summary", tokens="The labelled documents, as tokens/ID.", column="The column of the classes."),
        *_integers("summary", classes="Classes that were probed.", documents="Documents that were read."),
        Field(
            "accuracy", "summary.accuracy", "number", "Accuracy of sparse probes at the largest k, mean over classes."
        ),
        Field("tpp", "summary.tpp", "number", "Targeted probe perturbation at the most ablated latents."),
        Field("scr", "summary.scr", "number", "Spurious correlation removal at the most ablated latents."),
    ),
    "exports": (_SAE, *_texts("summary", format="The format that it is in.")),
    "features": (
        *(_SAE, _SPLIT),
        *_texts("summary", hook="The hook of the SAE."),
        *_integers("summary", rows="Rows that were read.", data_positions="Data positions that were read."),
        *_integers("summary", n_features="Features.", alive="Features that were active at least once."),
        Field("l0", "summary.l0", "number", "Active features at a data position, mean."),
    ),
    "labels": (
        _SAE,
        *_texts("summary", features="The features, as features/ID."),
        *_integers("summary", n_features="Features.", labelled="Features with a scored label."),
        *_integers("summary", beats="Features whose best label beats its permuted one with a 95% interval."),
    ),
}


def filters_of(kind: str) -> dict[str, Field]:
    """The filters of a kind by name: each field by its own name, numbers also as `min_NAME` and `max_NAME`."""
    found = {}
    for field in INDEX.get(kind, ()):
        found[field.name] = field
        if field.type != "text":
            found[f"min_{field.name}"] = field._replace(description=f"At least this. {field.description}")
            found[f"max_{field.name}"] = field._replace(description=f"At most this. {field.description}")
    return found


def value_of(kind: str, name: str, text: str | None, number: float | None) -> Value:
    """A value of a field as it was before it was stored: a text, a whole number or another."""
    if text is not None:
        return text
    whole = any(field.name == name and field.type == "integer" for field in INDEX.get(kind, ()))
    return int(number or 0) if whole else number or 0.0
