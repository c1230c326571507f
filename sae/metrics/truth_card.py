"""The truth card: figures of an SAE beside those of its controls, with the differences and the uncertainty of each.

A control is an SAE of the same run whose decoder or encoder was frozen at its random start. What it reaches was not learnt,
so a figure of an SAE counts as far as it differs from that of its controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sae.metrics.intervals import Estimate, difference, mean, ratio, share
from sae.metrics.pieces import by_document
from sae.metrics.planted import recovery
from sae.metrics.reconstruction import VALUES
from sae.metrics.summary import Evidence
from sae.metrics.weights import Weights

METHOD = (
    "95% intervals. Over documents: delta method for a ratio of sums over documents, paired by document for differences. Over "
    "latents: standard error of the mean, or Wilson's interval of a share; differences add variances."
)
DENSE, DUPLICATE = 0.1, 0.9  # a latent is dense above this density, a duplicate from this cosine with another one on
_COLUMN = {name: 1 + i for i, name in enumerate(VALUES)}
_VARIANT = {"clean": 0, "sae": 1, "zero": 2, "mean": 3}
Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """One SAE of a card: what it is called (`sae`, or which weights were frozen), and what was measured of it."""

    name: str
    sae: str
    evidence: Evidence
    weights: Weights


def truth_card(measured: Sequence[Measured], seeds: Sequence[str], unit: str = "documents") -> dict[str, Any]:
    """The card of `measured`, the SAE first. `seeds`: the SAEs that its weights were matched with. A plain JSON value.

    `unit`: what the evidence's pieces belong to.
    """
    documents = np.unique(measured[0].evidence.pieces.document)
    found = [_figures(one, documents, unit) for one in measured]
    figures = []
    for name, (over, own) in found[0].items():
        row: dict[str, Any] = {"figure": name, "over": over, "sae": own.body(), "controls": []}
        for one, estimates in zip(measured[1:], found[1:], strict=True):
            if name in estimates:
                row["controls"].append(_beside(one.name, own, estimates[name][1]))
        figures.append(row)
    own_weights = measured[0].weights
    if seeds:
        matches, random = mean(own_weights.matched.mean(axis=0)), mean(own_weights.random)
        assert matches is not None and random is not None
        beside = [_beside("random directions", matches, random)]
        figures.append({"figure": "pw_mcc", "over": "latents", "sae": matches.body(), "controls": beside})
    return {
        "unit": unit,
        "units": len(documents),
        "method": METHOD,
        "controls": [{"control": one.name, "sae": one.sae} for one in measured[1:]],
        "seeds": list(seeds),
        "figures": figures,
    }


def _beside(name: str, own: Estimate, control: Estimate) -> dict[str, Any]:
    return {"control": name, **control.body(), "difference": difference(own, control).body()}


def _figures(one: Measured, documents: NDArray[np.int64], unit: str) -> dict[str, tuple[str, Estimate]]:
    """Each figure with what its interval is over. One that is not defined is left out."""
    evidence, weights = one.evidence, one.weights
    sums = by_document(evidence.pieces, documents)
    positions = sums[:, 0]

    def column(name: str) -> Floats:
        values: Floats = sums[:, _COLUMN[name]]
        return values

    # The variance about the mean of all positions: that mean is taken as known.
    spread = column("square") - positions * evidence.mean_shift
    over = {
        "ev": ratio(column("error"), spread, complement=True),
        "l0": ratio(column("active"), positions),
        "l1": ratio(column("l1"), positions),
        "mse": ratio(column("error"), positions),
        "cosine": ratio(column("cosine"), positions),
        "shrinkage": ratio(column("ratio"), positions),
        "relative_reconstruction_bias": ratio(column("made"), column("dot")),
        **_losses(evidence, documents),
    }
    counts, n = evidence.counts, len(evidence.counts)
    density = counts / evidence.positions
    latents = {
        "dead_share": share(int((counts == 0).sum()), n),
        "dense_share": share(int((density > DENSE).sum()), n),
        "duplicate_share": share(int((weights.decoder_overlap >= DUPLICATE).sum()), n),
        **_recovery(one),
    }
    return {
        name: (where, estimate)
        for where, group in ((unit, over), ("latents", latents))
        for name, estimate in group.items()
        if estimate is not None
    }


def _losses(evidence: Evidence, documents: NDArray[np.int64]) -> dict[str, Estimate | None]:
    if evidence.loss_pieces is None:
        return {}
    sums = by_document(evidence.loss_pieces, documents)
    ce = {name: sums[:, 1 + column] for name, column in _VARIANT.items()}
    kl = {name: sums[:, 5 + column] for name, column in _VARIANT.items()}
    found = {"ce_sae": ratio(ce["sae"], sums[:, 0]), "kl_sae": ratio(kl["sae"], sums[:, 0])}
    for ablation in ("zero", "mean"):
        found[f"ce_score_{ablation}"] = ratio(ce[ablation] - ce["sae"], ce[ablation] - ce["clean"])
        found[f"kl_score_{ablation}"] = ratio(kl[ablation] - kl["sae"], kl[ablation])
    return found


def _recovery(one: Measured) -> dict[str, Estimate | None]:
    if one.evidence.planted is None:
        return {}
    found = recovery(one.evidence.counts, one.evidence.planted, one.weights.nearest)
    return {
        "mcc": mean(one.weights.planted),
        "f1": mean(found.f1),
        "precision": mean(found.precision),
        "recall": mean(found.recall),
        "uniqueness": share(found.features, len(found.f1)),
    }
