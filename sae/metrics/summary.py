"""Adds up what the batches measured, in row order, and gives the figures of `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sae.metrics.loss import Losses, ce_score, kl_score, mean_losses
from sae.metrics.reconstruction import Counts, add_rows, explained_variance, l0
from sae.metrics.rows import RowResults, add_counts


class NothingToMeasure(ValueError):
    """No position was data, so no metric is defined."""


class Summary(NamedTuple):
    """`metrics`: plain JSON values. `counts` int64 [d_sae]: data positions at which each latent is active."""

    metrics: dict[str, Any]
    counts: Counts


def summarise(parts: Sequence[RowResults]) -> Summary:
    """The figures over all batches, which must come in row order. Raises NothingToMeasure.

    A ratio that is undefined (x does not vary, or ablation changes nothing) is null.
    """
    total = add_rows(part.sums for part in parts)
    excluded = add_counts([part.excluded for part in parts])
    if not total.positions:
        raise NothingToMeasure(f"none of the positions is data; left out: {excluded}. Take more rows, or another split")
    counts: Counts = np.stack([part.counts for part in parts]).sum(axis=0)
    alive = int((counts > 0).sum())
    rows = sum(len(part.sums.positions) for part in parts)
    metrics = {
        "ev": explained_variance(total),
        "l0": l0(total),
        "alive": alive,
        "alive_share": alive / len(counts),
        "d_sae": len(counts),
        "rows": rows,
        "tokens": total.positions,
        "excluded": excluded,
        "loss": _loss_figures([part for part in parts if part.losses is not None]),
    }
    return Summary({**metrics, **_scores(mean_losses(p.losses for p in parts if p.losses is not None))}, counts)


def _loss_figures(parts: Sequence[RowResults]) -> dict[str, Any]:
    """Where CE and KL were measured, and data positions where they were not, by reason (see sae.metrics.positions)."""
    losses = [part.losses for part in parts if part.losses is not None]
    return {
        "rows": sum(len(loss.scored) for loss in losses),
        "tokens": sum(int(loss.scored.sum()) for loss in losses),
        "unscored": add_counts([part.unscored for part in parts]),
    }


def _scores(losses: Losses | None) -> dict[str, float | None]:
    if losses is None:
        names = [f"ce_{v}" for v in ("clean", "sae", "zero", "mean")] + [f"kl_{v}" for v in ("sae", "zero", "mean")]
        names += [f"{kind}_score_{v}" for kind in ("ce", "kl") for v in ("zero", "mean")]
        return dict.fromkeys(names)
    ce, kl = losses.ce, losses.kl
    scores: dict[str, float | None] = {f"ce_{name}": value for name, value in ce.items()}
    scores |= {f"kl_{name}": value for name, value in kl.items() if name != "clean"}
    for ablation in ("zero", "mean"):
        scores[f"ce_score_{ablation}"] = ce_score(ce[ablation], ce["sae"], ce["clean"])
        scores[f"kl_score_{ablation}"] = kl_score(kl[ablation], kl["sae"])
    return scores
