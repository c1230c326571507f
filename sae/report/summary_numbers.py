"""What the report says in figures: the tiles, what was left out, and report.json."""

from __future__ import annotations

from typing import Any, NamedTuple

from configs.architectures import architecture_name, target_l0
from sae.formats.labels import LabelsInfo
from sae.report.probes import probe_figures
from sae.report.sources import Sources

_REASONS = {
    "sink": "attention sinks: positions whose activation norm is far above the median",
    "bos": "beginning-of-sequence tokens",
    "separator": "tokens between documents",
    "special": "other special tokens",
    "pad": "padding",
    "boundary": "BOS, EOS and padding tokens inside texts",
    "repeated": "tokens repeated from another row, where they count",
}
_SCORE = "Loss recovered by the reconstruction: 0 is no better than {} activations, 1 the untouched model."


class Tile(NamedTuple):
    """One figure of the summary, formatted, with one line that says what it means."""

    name: str
    value: str
    note: str


class Reason(NamedTuple):
    """Positions left out for one reason."""

    name: str
    positions: int
    note: str


def tiles(sources: Sources) -> list[Tile]:
    """The summary. A figure that was not measured is shown as a dash."""
    metrics, info = sources.metrics, sources.features.info
    out = sum(info.excluded.values())

    def tile(name: str, figure: str, note: str, digits: int = 3) -> Tile:
        return Tile(name, _fixed(metrics.get(figure), digits), note)

    return [
        tile("Explained variance (EV)", "ev", f"Share of the activations' variance that is kept. {_held_out(metrics)}"),
        tile("L0", "l0", f"Features active at a position, on average.{_trained_for(sources)} {_held_out(metrics)}", 1),
        Tile(
            "Alive", _percent(info.alive, info.n_features), f"{info.alive:,} features fired on a data position below."
        ),
        tile("CE score, zero ablation", "ce_score_zero", f"{_SCORE.format('zeroed')}{_losses(metrics, 'zero')}"),
        tile("CE score, mean ablation", "ce_score_mean", f"{_SCORE.format('mean')}{_losses(metrics, 'mean')}"),
        tile("KL score, zero ablation", "kl_score_zero", "The same for the divergence from the untouched model."),
        Tile(
            "Data positions",
            _whole(info.data_positions),
            f"Of {info.tokens:,} tokens in {info.rows:,} rows ({info.split} split). Densities count against these.",
        ),
        Tile("Left out", _whole(out), f"{_percent(out, info.tokens)} of the tokens are never data. By reason below."),
    ]


def excluded(sources: Sources) -> list[Reason]:
    """Positions left out of the extraction, the commonest reason first."""
    counts = sources.features.info.excluded
    names = sorted(counts, key=lambda name: (-counts[name], name))
    return [Reason(name, counts[name], _REASONS.get(name, "")) for name in names]


def figures(sources: Sources, pages: int) -> dict[str, Any]:
    """report.json, without what differs between machines and runs (paths, seconds)."""
    info, sae, metrics = sources.features.info, sources.sae, sources.metrics
    scores = {name: metrics.get(name) for name in sorted(metrics) if name.startswith(("ce_", "kl_"))}
    return {
        "sae": {
            "id": info.inputs["sae"],
            "hook": info.hook,
            "target_hook": sae.get("metadata", {}).get("hook_name_out"),
            **({} if info.hooks is None else {"hooks": list(info.hooks), "ev_of_hooks": metrics.get("ev_of_hooks")}),
            "architecture": architecture_name(sae),
            "d_in": sae["d_in"],
            "d_sae": sae["d_sae"],
            "k": target_l0(sae),
            "ev": metrics.get("ev"),
            "l0": metrics.get("l0"),
            "alive": info.alive / info.n_features,
            **scores,
        },
        "card": metrics.get("card"),
        "evaluation": {name: metrics.get(name) for name in ("split", "rows", "tokens", "excluded", "alive_share")},
        "features": {
            "count": info.n_features,
            "alive": info.alive,
            "pages": pages,
            "no_logit_lens": info.no_logit_lens,
        },
        "labels": None if sources.labels is None else _label_figures(sources.labels.info),
        "probes": None if sources.probes is None else probe_figures(sources.probes),
        "tokens": {
            "id": info.inputs["tokens"],
            "split": info.split,
            "rows": info.rows,
            "tokens": info.tokens,
            "data": info.data_positions,
            "excluded": info.excluded,
        },
        "model": {"id": info.inputs["model"], "name": model_name(sources)},
    }


def _label_figures(info: LabelsInfo) -> dict[str, Any]:
    names = ("labelled", "beats", "types", "effects", "explain_positions", "test_positions", "steering")
    return {name: value for name, value in info.model_dump(mode="json").items() if name in names}


def model_name(sources: Sources) -> str:
    """What the model calls itself: by the SAE's metadata, else by its own config."""
    named = sources.sae.get("metadata", {}).get("model_name") or sources.model.get("_name_or_path")
    return str(named or "/".join(sources.model.get("architectures") or ["language model"]))


def _trained_for(sources: Sources) -> str:
    k = target_l0(sources.sae)
    return "" if k is None else f" Trained for an L0 of {k:g}."


def _losses(metrics: dict[str, Any], ablation: str) -> str:
    clean, sae, ablated = (metrics.get(f"ce_{name}") for name in ("clean", "sae", ablation))
    if clean is None or sae is None or ablated is None:
        return ""
    return f" Loss: {clean:.3f} untouched, {sae:.3f} reconstructed, {ablated:.3f} ablated (nats)."


def _held_out(metrics: dict[str, Any]) -> str:
    return f"On {_whole(metrics.get('tokens'))} held-out positions ({metrics.get('split', '?')} split)."


def _fixed(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole * 100:.1f}%" if whole else "–"


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
