"""Probes in the report: each figure on labelled documents beside its controls, for the page and for report.json."""

from __future__ import annotations

from typing import Any, NamedTuple

from sae.report.card import CardRow, card_row

_DOCUMENTS = "test documents"
_ALONE: list[dict[str, Any]] = []  # the controls of a figure that has none
_EFFECTS = {
    "tpp": ("TPP", "intended less unintended effect"),
    "intended": ("Intended effect", "accuracy that a class's probe loses when its latents are ablated"),
    "unintended": ("Unintended effect", "accuracy that the other classes' probes lose by that"),
}
_SPURIOUS = {
    "biased": ("Biased probe", "trained where the spurious value goes with the class"),
    "oracle": ("Oracle", "trained where it does not"),
    "gap": ("Gap", "accuracy that the bias costs"),
    "spurious_value": ("Probe of the spurious value", ""),
}


class ProbesShown(NamedTuple):
    """The section: what it rests on, rows of all figures and of each class, and why figures are missing."""

    note: str
    rows: list[CardRow]
    class_k: int
    classes: list[CardRow]
    reasons: list[str]


def probe_figures(body: dict[str, Any]) -> dict[str, Any]:
    """What report.json holds of probes.json: all figures with controls and intervals; of each class those of the largest k."""
    names = ("tokens", "split", "class_column", "method", "documents", "whole_hook", "sparse_probing")
    spurious = body["spurious"]
    return {
        **{name: body[name] for name in names},
        "classes": [_class(one) for one in body["classes"]],
        "perturbation": _without_latents(body["perturbation"]),
        "spurious": None if spurious is None else _without_latents(spurious),
    }


def shown_probes(body: dict[str, Any]) -> ProbesShown:
    """The same figures as the page shows them."""
    found = probe_figures(body)
    documents, classes = found["documents"], found["classes"]
    note = (
        f"{documents['train']:,} training and {documents['test']:,} test documents, labelled by “{found['class_column']}”. "
        f"{found['method']}"
    )
    rows = [
        card_row(
            "All dimensions of the hook", "accuracy: what there is to find", _DOCUMENTS, _alone(found["whole_hook"])
        )
    ]
    rows += [
        card_row(
            f"Sparse probing, k = {row['k']}", "accuracy of probes on k latents, mean over classes", _DOCUMENTS, row
        )
        for row in found["sparse_probing"]
    ]
    rows += _effects(found["perturbation"])
    rows += [] if found["spurious"] is None else _spurious(found["spurious"])
    parts = (("TPP", found["perturbation"]), ("SCR", found["spurious"] or {}))
    reasons = [f"No {name}: {part['reason']}." for name, part in parts if "reason" in part]
    return ProbesShown(note, rows, classes[0]["k"], [_class_row(one) for one in classes], reasons)


def _class(body: dict[str, Any]) -> dict[str, Any]:
    last = max(body["sparse_probing"], key=lambda row: int(row["k"]))
    figure = {name: last[name] for name in ("k", "sae", "controls")}
    return {name: body[name] for name in ("class", "train", "test", "whole_hook")} | figure


def _class_row(body: dict[str, Any]) -> CardRow:
    hook = body["whole_hook"]["value"]
    note = (
        f"{body['train']:,} training and {body['test']:,} test documents; all dimensions of the hook reach {hook:.3f}"
    )
    return card_row(body["class"], note, _DOCUMENTS, body)


def _effects(body: dict[str, Any]) -> list[CardRow]:
    return [
        card_row(f"{name}, {_latents(row['ablated'])}", note, _DOCUMENTS, row[figure])
        for row in body.get("rows", ())
        for figure, (name, note) in _EFFECTS.items()
    ]


def _spurious(body: dict[str, Any]) -> list[CardRow]:
    rows = [
        card_row(name, f"accuracy; {note}" if note and figure != "gap" else note, _DOCUMENTS, _alone(body[figure]))
        for figure, (name, note) in _SPURIOUS.items()
        if figure in body
    ]
    for row in body.get("rows", ()):
        latents = _latents(row["ablated"])
        rows.append(card_row(f"Biased probe, {latents}", "accuracy", _DOCUMENTS, row["accuracy"]))
        if "scr" in row:
            rows.append(card_row(f"SCR, {latents}", "share of the gap that comes back", _DOCUMENTS, row["scr"]))
    return rows


def _latents(count: int) -> str:
    return f"{count} latent{'' if count == 1 else 's'} ablated"


def _alone(estimate: dict[str, Any]) -> dict[str, Any]:
    return {"sae": estimate, "controls": _ALONE}


def _without_latents(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "latents"}
