"""The index of artifacts: writes their fields from manifests, and searches by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from cluster.catalog.artifact_tables import ArtifactField, ArtifactRow
from cluster.catalog.index_fields import INDEX, MEASURED, Field, Value, filters_of


def index_artifact(session: Session, row: ArtifactRow, config: Mapping[str, Any]) -> None:
    """Writes the fields of an artifact whose row was written just now. `config` is its manifest's."""
    manifest = {"config": config, "summary": row.summary, "inputs": row.inputs}
    _write(row, {field.name: _read(manifest, field.source) for field in INDEX.get(row.kind, ()) if field.source})
    session.flush()
    if row.kind == "saes":
        _measure(session, f"saes/{row.id}")
    index_evaluation(session, row)


def index_evaluation(session: Session, row: ArtifactRow) -> None:
    """After an evaluation has come or gone: its SAE has the figures of the last one that there is."""
    if row.kind == "evaluations" and isinstance(sae := row.summary.get("sae"), str):
        _measure(session, sae)


def _read(manifest: Mapping[str, Any], source: str) -> Any:
    for path in source.split("|"):
        found: Any = manifest
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if found is not None:
            return found
    return None


def _write(row: ArtifactRow, values: Mapping[str, Any]) -> None:
    """Replaces the values of some fields. What is not of a field's type is left out."""
    types = {field.name: field.type for field in INDEX.get(row.kind, ())}
    kept = [value for value in row.index if value.name not in values]
    for name, value in values.items():
        for number, one in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(one, str) and types[name] == "text":
                kept.append(ArtifactField(kind=row.kind, name=name, position=number, text=one))
            elif isinstance(one, int | float) and types[name] != "text":
                kept.append(ArtifactField(kind=row.kind, name=name, position=number, number=float(one)))
    row.index = kept


def _measure(session: Session, sae: str) -> None:
    """Copies what an SAE's last evaluation measured to the SAE; either may have come into the catalog first."""
    row = session.get(ArtifactRow, ("saes", sae.rpartition("/")[2]))
    if row is None:
        return
    evaluation = (
        select(ArtifactRow)
        .join(ArtifactRow.index)
        .where(ArtifactField.kind == "evaluations", ArtifactField.name == "sae", ArtifactField.text == sae)
        .order_by(ArtifactRow.seq.desc())
        .limit(1)
    )
    last = session.scalars(evaluation).one_or_none()
    summary = {} if last is None else last.summary
    values = {field.name: summary.get(field.name) for field in MEASURED}
    _write(row, {**values, "evaluation": None if last is None else f"evaluations/{last.id}"})
    session.flush()


def matching(kind: str | None, filters: Mapping[str, Value]) -> list[Select[int]]:
    """For each filter, a query for the `seq` of the artifacts that pass it. Raises ValueError for one that the kind lacks."""
    if kind is None:
        raise ValueError("filters belong to a kind of artifact: say which")
    known = filters_of(kind)
    if unknown := sorted(set(filters) - set(known)):
        names = ", ".join(field.name for field in INDEX.get(kind, ())) or "none"
        raise ValueError(f"{kind} have no filter {', '.join(unknown)}; their fields are: {names}")
    return [_query(kind, name, known[name], value) for name, value in filters.items()]


def _query(kind: str, name: str, field: Field, value: Value) -> Select[int]:
    query = select(ArtifactField.seq).where(ArtifactField.kind == kind, ArtifactField.name == field.name)
    if isinstance(value, str) != (field.type == "text"):
        raise ValueError(f"{name} of {kind} is {'a text' if field.type == 'text' else 'a number'}, not {value!r}")
    if isinstance(value, str):
        return query.where(ArtifactField.text == value)
    if name == f"min_{field.name}":
        return query.where(ArtifactField.number >= value)
    if name == f"max_{field.name}":
        return query.where(ArtifactField.number <= value)
    return query.where(ArtifactField.number == value)
