"""Adds up what was measured, in row order, and gives the figures of `metrics.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from sae.metrics.batch_evaluation import RowResults
from sae.metrics.loss import Losses, RowLosses, ce_score, kl_score, mean_losses
from sae.metrics.reconstruction import Counts, Totals, add_rows, explained_variance, l0


class NothingToMeasure(ValueError):
    """No position was data, so no metric is defined."""


class Summary(NamedTuple):
    """`metrics`: plain JSON values. `counts` int64 [d_sae]: data positions at which each latent is active."""

    metrics: dict[str, Any]
    counts: Counts


def summarise(parts: Iterable[RowResults]) -> Summary:
    """The figures over all parts, which must come in row order and are read one at a time. Raises NothingToMeasure.

    A ratio that is undefined (x does not vary, or ablation changes nothing) is null.
    """
    total: Totals | None = None
    counts: Counts = np.zeros(0, np.int64)
    excluded, unscored = Counter[str](), Counter[str]()
    losses: list[RowLosses] = []
    rows = 0
    for part in parts:
        total = add_rows(part.sums, total)
        counts = counts + part.counts if rows else part.counts
        excluded.update(part.excluded)
        unscored.update(part.unscored)
        rows += len(part.sums.positions)
        losses += [] if part.losses is None else [part.losses]
    if total is None or not total.positions:
        raise NothingToMeasure(
            f"none of the positions is data; left out: {dict(excluded)}. Take more rows, or another split"
        )
    alive = int((counts > 0).sum())
    metrics = {
        "ev": explained_variance(total),
        "l0": l0(total),
        "alive": alive,
        "alive_share": alive / len(counts),
        "d_sae": len(counts),
        "rows": rows,
        "tokens": total.positions,
        "excluded": dict(excluded),
        # Where CE and KL were measured, and data positions where they were not, by reason: see sae.metrics.positions.
        "loss": {
            "rows": sum(len(loss.scored) for loss in losses),
            "tokens": sum(int(loss.scored.sum()) for loss in losses),
            "unscored": dict(unscored),
        },
    }
    return Summary({**metrics, **_scores(mean_losses(losses))}, counts)


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
