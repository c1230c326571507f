"""The truth card as the page shows it: each figure of the SAE, that of each control, and the difference."""

from __future__ import annotations

from typing import Any, NamedTuple

_NAMES = {
    "ev": ("Explained variance", ""),
    "l0": ("L0", "active latents of a position"),
    "l1": ("L1", "sum of a position's activations"),
    "mse": ("Mean squared error", "summed over dimensions"),
    "cosine": ("Cosine", "of activation and reconstruction"),
    "shrinkage": ("Shrinkage", "length of the reconstruction over that of the activation"),
    "relative_reconstruction_bias": ("Reconstruction bias", "1 is unbiased, less is too short"),
    "ce_sae": ("Loss, reconstructed", "nats"),
    "kl_sae": ("KL divergence, reconstructed", "nats"),
    "ce_score_zero": ("CE score, zero ablation", ""),
    "ce_score_mean": ("CE score, mean ablation", ""),
    "kl_score_zero": ("KL score, zero ablation", ""),
    "kl_score_mean": ("KL score, mean ablation", ""),
    "dead_share": ("Dead latents", "share never active on these positions"),
    "dense_share": ("Dense latents", "share active at more than 10% of positions"),
    "duplicate_share": ("Duplicate latents", "share with a cosine of 0.9 or more with another one"),
    "mcc": ("MCC", "cosine with planted directions, matched one to one"),
    "f1": ("F1", "of latents for their planted features"),
    "precision": ("Precision", ""),
    "recall": ("Recall", ""),
    "uniqueness": ("Uniqueness", "different planted features of the active latents"),
    "pw_mcc": ("Stability over seeds (PW-MCC)", "cosine with another seed's decoder, matched one to one"),
}


class CardRow(NamedTuple):
    """One figure: its name, a note, what its interval is over, the SAE's value, and (control, value, difference) each."""

    name: str
    note: str
    over: str
    value: str
    controls: list[tuple[str, str, str]]


class Card(NamedTuple):
    """The table, and the sentence that says what it rests on."""

    note: str
    rows: list[CardRow]


def shown_card(metrics: dict[str, Any]) -> Card | None:
    """The card of an evaluation; None if it has none."""
    card = metrics.get("card")
    if card is None:
        return None
    rows = []
    for figure in card["figures"]:
        name, note = _NAMES.get(figure["figure"], (figure["figure"], ""))
        rows.append(card_row(name, note, figure["over"], figure))
    controls = ", ".join(f"{one['control']} ({one['sae']})" for one in card["controls"])
    about = f"Controls: {controls}. " if controls else "No controls were trained. "
    return Card(f"{about}{card['units']:,} {card['unit']}. {card['method']}", rows)


def card_row(name: str, note: str, over: str, figure: dict[str, Any]) -> CardRow:
    """A row of `{sae, controls}`."""
    beside = [(one["control"], _interval(one), _interval(one["difference"], "+")) for one in figure["controls"]]
    return CardRow(name, note, over, _interval(figure["sae"]), beside)


def _interval(body: dict[str, Any], sign: str = "") -> str:
    if body["low"] is None or body["high"] is None:
        return format(body["value"], f"{sign}.3f")
    return f"{body['value']:{sign}.3f} [{body['low']:{sign}.3f}, {body['high']:{sign}.3f}]"
