"""From a manifest to the facts of its kind. A manifest need not say them all: what it does not say is null."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, Table, delete, insert, select, update
from sqlalchemy.orm import Session

from cluster.records import artifact_index_tables as tables
from cluster.records.artifact_tables import Artifact

Facts = dict[str, Any]
_MEASURED = ("ev", "l0", "alive")


class Said(NamedTuple):
    """What a manifest says."""

    config: Facts
    summary: Facts
    inputs: dict[str, str]


def _dataset(said: Said) -> Facts:
    return {name: said.summary.get(name) for name in ("documents", "text_bytes", "splits")}


def _model(said: Said) -> Facts:
    same = ("architecture", "d_model", "vocab_size", "parameters", "context_length", "dtype")
    return {**{name: said.summary.get(name) for name in same}, "layers": said.summary.get("n_layers")}


def _tokenization(said: Said) -> Facts:
    same = ("rows", "tokens", "data_tokens", "documents", "splits")
    return {
        **{name: said.summary.get(name) for name in same},
        "context_length": said.config.get("context_length"),
        "dataset": said.inputs.get("dataset"),
        "model": said.inputs.get("model"),
    }


def _activations(said: Said) -> Facts:
    hooks = said.config.get("hooks")
    return {
        "model": said.inputs.get("model"),
        "tokens": said.inputs.get("tokens"),
        "hook": hooks[0] if isinstance(hooks, list) and len(hooks) == 1 else None,
        "hooks": hooks,
        "dtype": said.config.get("dtype"),
        "split": said.config.get("split"),
        "rows": said.summary.get("rows"),
    }


def _sae(said: Said) -> Facts:
    """`said.config` is the SAE's own."""
    return {
        **{name: said.config.get(name) for name in ("architecture", "d_sae", "k", "hook")},
        "model": said.inputs.get("model"),
        "tokens": said.inputs.get("tokens"),
    }


def _evaluation(said: Said) -> Facts:
    return {
        **{name: said.summary.get(name) for name in (*_MEASURED, "sae", "split", "rows", "tokens")},
        "ce_score": said.summary.get("ce_score_zero"),
        "kl_score": said.summary.get("kl_score_zero"),
    }


def _feature_set(said: Said) -> Facts:
    same = ("sae", "hook", "split", "rows", "data_positions", "alive", "l0")
    return {**{name: said.summary.get(name) for name in same}, "count": said.summary.get("n_features")}


KINDS: dict[str, tuple[Table, Callable[[Said], Facts]]] = {
    "datasets": (tables.DATASETS, _dataset),
    "models": (tables.MODELS, _model),
    "tokens": (tables.TOKENIZATIONS, _tokenization),
    "activations": (tables.ACTIVATIONS, _activations),
    "saes": (tables.SAES, _sae),
    "evaluations": (tables.EVALUATIONS, _evaluation),
    "features": (tables.FEATURE_SETS, _feature_set),
}


def write_facts(session: Session, row: Artifact, config: Facts) -> None:
    """Writes the facts of an artifact whose row was written just now. `config` is its manifest's."""
    if row.kind not in KINDS:
        return
    table, read = KINDS[row.kind]
    facts = read(Said(_own(config, row.label) if row.kind == "saes" else config, row.summary, row.inputs))
    session.execute(delete(table).where(table.c.id == row.id))
    session.execute(insert(table).values(kind=row.kind, id=row.id, **facts))
    if row.kind == "saes":
        _measure(session, f"{row.kind}/{row.id}")
    measure_again(session, row)


def measure_again(session: Session, row: Artifact) -> None:
    """After an evaluation has come or gone: its SAE's figures are those of the last one that there is."""
    if row.kind == "evaluations" and isinstance(sae := row.summary.get("sae"), str):
        _measure(session, sae)


def _own(config: Facts, label: str) -> Facts:
    """An SAE's own settings among those of the run that made it, which its label tells (as the train stage writes it)."""
    saes = config.get("saes") or []
    if len(saes) == 1:
        return dict(saes[0])
    labels = ("{architecture} {d_sae} k={k} at {hook}".format(**sae) for sae in saes)
    return next((dict(sae) for sae, own in zip(saes, labels, strict=True) if own == label), {})


def _measure(session: Session, sae: str) -> None:
    """Copies what the SAE's last evaluation measured to the SAE's facts; either may have come into the catalog first."""
    table, saes = tables.EVALUATIONS, tables.SAES
    last = (
        select(table)
        .join(Artifact, (Artifact.kind == table.c.kind) & (Artifact.id == table.c.id))
        .where(table.c.sae == sae)
        .order_by(Artifact.seq.desc())
        .limit(1)
    )
    found = session.execute(last).mappings().one_or_none()
    values: Facts = {name: None if found is None else found[name] for name in _MEASURED}
    values["evaluation"] = None if found is None else f"evaluations/{found['id']}"
    session.execute(update(saes).where(saes.c.id == sae.rpartition("/")[2]).values(**values))


def facts_of(session: Session, rows: Sequence[Artifact]) -> dict[tuple[str, str], Facts]:
    """The facts of artifacts, by (kind, id)."""
    found: dict[tuple[str, str], Facts] = {}
    for kind in {row.kind for row in rows} & set(KINDS):
        table, names = KINDS[kind][0], fact_names(kind)
        query = select(table).where(table.c.id.in_([row.id for row in rows if row.kind == kind]))
        for facts in session.execute(query).mappings():
            found[kind, facts["id"]] = {name: facts[name] for name in names}
    return found


def fact_names(kind: str) -> list[str]:
    """What is known of artifacts of a kind. Raises ValueError if it is a kind without facts."""
    if kind not in KINDS:
        raise ValueError(f"artifacts of kind {kind!r} have no facts: {', '.join(sorted(KINDS))} have")
    return [column.name for column in KINDS[kind][0].c if column.name not in ("kind", "id")]


def with_facts(kind: str | None, facts: Mapping[str, str | int | float]) -> Select[Any]:
    """A query for the ids of artifacts of a kind that have these facts. Raises ValueError if the kind has none such."""
    if kind is None:
        raise ValueError("facts belong to a kind of artifact: say which")
    known = fact_names(kind)
    if unknown := sorted(set(facts) - set(known)):
        raise ValueError(f"{kind} have no fact {', '.join(unknown)}: they have {', '.join(known)}")
    table = KINDS[kind][0]
    return select(table.c.id).where(*(table.c[name] == value for name, value in facts.items()))
