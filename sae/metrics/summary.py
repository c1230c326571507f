"""Adds up what was measured, in row order, and gives the figures of `metrics.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from sae.metrics.batch_evaluation import RowResults
from sae.metrics.loss import Losses, RowLosses, ce_score, kl_score, mean_losses
from sae.metrics.pieces import Pieces, join_pieces
from sae.metrics.planted import PlantedCounts
from sae.metrics.reconstruction import (
    Counts,
    HookSums,
    Totals,
    add_rows,
    explained_variance,
    explained_variance_of_hooks,
    l0,
    reconstruction_figures,
)


class NothingToMeasure(ValueError):
    """No position was data, so no metric is defined."""


class Evidence(NamedTuple):
    """What intervals are made of. `mean_shift`: square of the distance of the data's mean from the sums' reference."""

    pieces: Pieces
    loss_pieces: Pieces | None
    counts: Counts
    positions: int
    mean_shift: float
    planted: PlantedCounts | None


class Summary(NamedTuple):
    """`metrics`: plain JSON values. `counts` int64 [d_sae]: data positions at which each latent is active."""

    metrics: dict[str, Any]
    counts: Counts
    evidence: Evidence


def summarise(parts: Iterable[RowResults]) -> Summary:
    """The figures over all parts, which must come in row order and are read one at a time. Raises NothingToMeasure.

    A ratio that is undefined (x does not vary, or ablation changes nothing) is null.
    """
    total: Totals | None = None
    counts: Counts = np.zeros(0, np.int64)
    excluded, unscored = Counter[str](), Counter[str]()
    losses: list[RowLosses] = []
    pieces: list[Pieces] = []
    loss_pieces: list[Pieces] = []
    planted: list[PlantedCounts] = []
    hooks: list[HookSums] = []
    rows = 0
    for part in parts:
        total = add_rows(part.sums, total)
        counts = counts + part.counts if rows else part.counts
        excluded.update(part.excluded)
        unscored.update(part.unscored)
        rows += len(part.sums.positions)
        pieces.append(part.pieces)
        hooks += [] if part.hooks is None else [part.hooks]
        losses += [] if part.losses is None else [part.losses]
        loss_pieces += [] if part.loss_pieces is None else [part.loss_pieces]
        if part.planted is not None:
            planted = [PlantedCounts(*(sum(both) for both in zip(part.planted, *planted, strict=True)))]
    if total is None or not total.positions:
        raise NothingToMeasure(
            f"none of the positions is data; left out: {dict(excluded)}. Take more rows, or another split"
        )
    alive = int((counts > 0).sum())
    metrics = {
        "ev": explained_variance(total),
        **({"ev_of_hooks": explained_variance_of_hooks(hooks, total)} if hooks else {}),
        "l0": l0(total),
        **reconstruction_figures(total),
        "alive": alive,
        "alive_share": alive / len(counts),
        **_density(counts, total.positions),
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
    shift = float(np.square(total.shifted / total.positions).sum())
    evidence = Evidence(
        join_pieces(pieces),
        join_pieces(loss_pieces) if loss_pieces else None,
        counts,
        total.positions,
        shift,
        planted[0] if planted else None,
    )
    return Summary({**metrics, **_scores(mean_losses(losses))}, counts, evidence)


def _density(counts: Counts, positions: int) -> dict[str, float]:
    """Shares of latents that are denser than 1% and 10%, and the shares of all activity that these have."""
    density, whole, found = counts / positions, max(1, int(counts.sum())), {}
    for percent in (1, 10):
        dense = density > percent / 100
        found[f"denser_than_{percent}_percent"] = float(dense.mean())
        found[f"activity_denser_than_{percent}_percent"] = float(counts[dense].sum() / whole)
    return found


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
