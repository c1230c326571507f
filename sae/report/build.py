"""Builds the report of one SAE: report.html and report.json. The same artifacts and config give the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from configs.architectures import architecture_name, target_l0
from configs.report import ReportConfig
from sae.report.card import shown_card
from sae.report.feature_selection import select_features, selection_rule
from sae.report.labels import label_columns, page_labels, shown_labels
from sae.report.overview import curves, density_bars, feature_columns
from sae.report.pages import feature_pages
from sae.report.probes import shown_probes
from sae.report.render import render
from sae.report.sources import Artifacts, ReportError, Sources, open_sources
from sae.report.string_table import Strings, renumber
from sae.report.summary_numbers import excluded, figures, model_name, tiles

HTML, JSON = "report.html", "report.json"
MAX_BYTES = 15 * 10**6
_TABLE = ["feature", "count", "density", "sum", "max", "promoted", "neighbours", "neighbour_cosines"]


def build_report(artifacts: Artifacts, config: ReportConfig, folder: Path) -> dict[str, Any]:
    """Writes both files into `folder` and returns what report.json holds.

    Raises ReportError if artifacts do not belong together or if the page would be larger than 15 MB.
    """
    sources = open_sources(artifacts)
    strings = Strings()
    table = sources.features.features(_TABLE)
    density = table["density"].to_numpy().astype(np.float64)
    chosen = select_features(density, config.pages, config.seed)
    rule = selection_rule(int((density > 0).sum()), len(chosen), config.seed)
    pages = feature_pages(sources, chosen, config.context_tokens, strings)
    columns = feature_columns(table, strings, sources.token_text)
    if sources.labels is not None:
        columns |= label_columns(sources.labels, strings)
        for feature, labels in page_labels(sources.labels, chosen, strings).items():
            pages[feature]["labels"] = labels
    texts, final = strings.finish()
    overview = {
        "rule": rule,
        "pages": chosen,
        "curves": curves(sources.curves),
        "density": density_bars(density),
        "features": renumber(columns, final),
        "strings": texts,
    }
    html = render(_facts(sources, rule), overview, renumber(pages, final))
    if len(html) > MAX_BYTES:
        raise ReportError(
            f"the page would have {len(html) / 1e6:.1f} MB, over the {MAX_BYTES / 1e6:.0f} MB that a report may have: "
            f"lower pages (now {config.pages}) or context_tokens (now {config.context_tokens})"
        )
    body = figures(sources, len(chosen))
    (folder / HTML).write_bytes(html)
    (folder / JSON).write_text(json.dumps(body, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    return body


def _facts(sources: Sources, rule: str) -> dict[str, Any]:
    info, sae = sources.features.info, sources.sae
    metadata = sae.get("metadata", {})
    about = {
        "model": model_name(sources),
        "hook": info.hook,
        "hf_hook": metadata.get("hf_hook_name"),
        "target_hook": metadata.get("hook_name_out"),
        "crosscoder": info.hooks is not None,
        "architecture": architecture_name(sae),
        "k": target_l0(sae),
        "width": info.n_features,
        "d_in": sae["d_in"],
    }
    return {
        "title": f"{about['model']} · {info.hook} · {info.n_features:,} features",
        "about": about,
        "tiles": tiles(sources),
        "card": shown_card(sources.metrics),
        "labels": None if sources.labels is None else shown_labels(sources.labels),
        "probes": None if sources.probes is None else shown_probes(sources.probes),
        "excluded": excluded(sources),
        "rows": info.rows,
        "rule": rule,
        "no_logit_lens": info.no_logit_lens,
        "ids": {"SAE": info.inputs["sae"], "tokens": info.inputs["tokens"], "model": info.inputs["model"]},
    }
