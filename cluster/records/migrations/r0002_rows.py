"""What revision 0002 fills its columns and tables with, from the rows of revision 0001."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

_SAE = re.compile(r"^(?P<architecture>\w+) (?P<d_sae>\d+) k=(?P<k>\d+) at (?P<hook>\S+)$")


def fill(bind: sa.Connection) -> None:
    """Numbers the rows, gives labels their first values, and reads inputs and facts of artifacts."""
    _number(bind)
    bind.execute(
        sa.text(
            "UPDATE jobs SET project = 'default', tags = '[]', notes = '', profile = 'auto', environment = '{}', "
            "wait_s = 600.0, clock_ahead = 0.0, tries = 0, safe = '{}'"
        )
    )
    bind.execute(
        sa.text(
            "UPDATE artifacts SET project = 'default', tags = '[]', notes = '', "
            "created_by = (SELECT created_by FROM jobs WHERE jobs.id = artifacts.job_id)"
        )
    )
    for name in ("jobs", "artifacts", "events"):
        last = f"(SELECT coalesce(max(seq), 0) FROM {name})"
        bind.execute(sa.text(f"INSERT INTO counters (name, value) VALUES ('{name}', {last})"))
    _describe(bind)


def _number(bind: sa.Connection) -> None:
    """By time. The events of a job keep their own order, even if the clock was set back between two of them."""
    for statement in (
        "UPDATE jobs SET seq = o.place FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS place FROM jobs)"
        " AS o WHERE o.id = jobs.id",
        "UPDATE artifacts SET seq = o.place FROM (SELECT kind, id, row_number() OVER (ORDER BY created_at, kind, id) AS"
        " place FROM artifacts) AS o WHERE o.kind = artifacts.kind AND o.id = artifacts.id",
        "UPDATE events SET seq = o.place FROM (SELECT job_id, number, row_number() OVER (ORDER BY upto, job_id, number)"
        " AS place FROM (SELECT job_id, number, max(at) OVER (PARTITION BY job_id ORDER BY number) AS upto FROM events)"
        " AS e) AS o WHERE o.job_id = events.job_id AND o.number = events.number",
    ):
        bind.execute(sa.text(statement))


def _describe(bind: sa.Connection) -> None:
    tables = sa.MetaData()
    tables.reflect(bind)
    jobs, artifacts = tables.tables["jobs"], tables.tables["artifacts"]
    query = sa.select(artifacts, jobs.c.config).join(jobs, jobs.c.id == artifacts.c.job_id).order_by(artifacts.c.seq)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in bind.execute(query).mappings().all():
        key = {"kind": row["kind"], "id": row["id"]}
        for role, ref in row["inputs"].items():
            input_kind, _, input_id = ref.partition("/")
            rows.setdefault("artifact_inputs", []).append(
                {**key, "role": role, "input_kind": input_kind, "input_id": input_id}
            )
        if (found := _facts(row)) is not None:
            rows.setdefault(found[0], []).append({**key, **found[1]})
    for name, values in rows.items():
        bind.execute(sa.insert(tables.tables[name]), values)
    measured = {row["sae"]: row for row in rows.get("evaluations", []) if row["sae"]}
    saes = tables.tables["saes"]
    for sae, last in measured.items():
        told = {"evaluation": f"evaluations/{last['id']}", **{name: last[name] for name in ("ev", "l0", "alive")}}
        bind.execute(sa.update(saes).where(saes.c.id == sae.rpartition("/")[2]).values(told))


def _facts(row: sa.RowMapping) -> tuple[str, dict[str, Any]] | None:
    config, summary, inputs = row["config"], row["summary"], row["inputs"]

    def said(*names: str, **renamed: str) -> dict[str, Any]:
        return {name: summary.get(name) for name in names} | {new: summary.get(old) for new, old in renamed.items()}

    sources = {role: inputs.get(role) for role in ("model", "tokens")}
    match row["kind"]:
        case "datasets":
            return "datasets", said("documents", "text_bytes", "splits")
        case "models":
            same = ("architecture", "d_model", "vocab_size", "parameters", "context_length", "dtype")
            return "models", said(*same, layers="n_layers")
        case "tokens":
            return "tokenizations", {
                **said("rows", "tokens", "data_tokens", "documents", "splits"),
                "context_length": config.get("context_length"),
                "dataset": inputs.get("dataset"),
                "model": inputs.get("model"),
            }
        case "activations":
            hooks = config.get("hooks") or []
            asked = {"hooks": hooks, "hook": hooks[0] if len(hooks) == 1 else None}
            return "activations", {**sources, **asked, **{n: config.get(n) for n in ("dtype", "split")}, **said("rows")}
        case "saes":
            label = _SAE.match(row["label"])
            own: dict[str, Any] = dict.fromkeys(("architecture", "d_sae", "k", "hook"))
            if label is not None:
                own = {**label.groupdict(), "d_sae": int(label["d_sae"]), "k": int(label["k"])}
            return "saes", {**sources, **own}
        case "evaluations":
            scores = {"ce_score": "ce_score_zero", "kl_score": "kl_score_zero"}
            return "evaluations", said("sae", "split", "rows", "tokens", "ev", "l0", "alive", **scores)
        case "features":
            return "feature_sets", said(
                "sae", "hook", "split", "rows", "data_positions", "alive", "l0", count="n_features"
            )
    return None
