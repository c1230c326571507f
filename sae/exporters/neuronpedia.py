"""Neuronpedia's upload bundle: `MODEL/SOURCE/{release,model,sourceset,source}.jsonl`, and features and activations in batches.

It is made of a features artifact: statistics, logit lens, neighbours, and the examples with their windows of activations;
and of labels, if there are any (`explanations/`, see neuronpedia_labels.py). What Neuronpedia knows and RayLens does not
measure (histograms of logits, neurons) is empty. Dates are left to the import.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sae.exporters import ExportSource
from sae.exporters.neuronpedia_labels import LabelRecords
from sae.features.histogram import PER_OCTAVE

_BATCH = 1024  # features of one file
_BARS = 50
_CREATOR = "clkht01d40000jv08hvalcvly"  # the account that Neuronpedia's own tools use where none is given
_LAYER = re.compile(r"^blocks\.(\d+)\.(?:hook_)?([\w.]+)$")
_SHORT = {"resid_pre": "res", "resid_mid": "res_mid", "resid_post": "res", "attn_out": "att", "mlp_out": "mlp"}
_EMPTY = (
    "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices",
    "correlated_neurons_pearson", "correlated_neurons_l1", "correlated_features_indices", "correlated_features_pearson",
    "correlated_features_l1", "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "decoder_weights_dist",
)  # fmt: skip


def write(source: ExportSource, folder: Path) -> None:
    """See sae.exporters."""
    bundle = _Bundle(source)
    own = folder / bundle.model / bundle.id
    for name, record in bundle.heads().items():
        own.mkdir(parents=True, exist_ok=True)
        (own / f"{name}.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    for number, first in enumerate(range(0, source.sae.d_sae, _BATCH)):
        ids = list(range(first, min(first + _BATCH, source.sae.d_sae)))
        _write_lines(own / "features" / f"batch-{number}.jsonl.gz", bundle.features(ids))
        _write_lines(own / "activations" / f"batch-{number}.jsonl.gz", bundle.activations(ids))
        if bundle.labels is not None:
            _write_lines(
                own / "explanations" / f"batch-{number}.jsonl.gz", bundle.labels.explanations(ids[0], ids[-1] + 1)
            )
            _write_lines(
                own / "explanation-scores" / f"batch-{number}.jsonl.gz", bundle.labels.scores(ids[0], ids[-1] + 1)
            )


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))


class _Bundle:
    """Names of the source on Neuronpedia, and its records."""

    def __init__(self, source: ExportSource) -> None:
        assert source.features is not None and source.tokens is not None and source.token_text is not None
        self._source, self._features = source, source.features
        self._tokens, self._text = source.tokens, source.token_text
        sae = source.sae
        self._hook = str(sae.metadata["hook_name"])
        place = _LAYER.match(self._hook)
        kind = _SHORT.get(place[2], place[2].replace(".", "-")) if place else "module"
        self.model = _slug(str(sae.metadata.get("model_name") or "model"))
        self.set = f"raylens-{kind}-{sae.d_sae}"
        self.id = f"{place[1] if place else 0}-{self.set}"
        self.labels = (
            None if source.labels is None else LabelRecords(source.labels, source.name, self.model, self.id, _CREATOR)
        )

    def heads(self) -> dict[str, dict[str, Any]]:
        """Release, model, set and source."""
        info, own = self._features.info, {"creatorId": _CREATOR}
        return {
            "release": {"name": self.set, "description": self._source.name, "descriptionShort": self._source.name, "urls": [],
                        "creatorName": "RayLens", "creatorNameShort": "RayLens", **own},
            "model": {"id": self.model, "displayName": self.model, "displayNameShort": self.model, "instruct": False, **own},
            "sourceset": {"modelId": self.model, "name": self.set, "description": f"{self._hook}, {info.n_features} latents",
                          "releaseName": self.set, "creatorName": "RayLens", "visibility": "PUBLIC", **own},
            "source": {"modelId": self.model, "setName": self.set, "id": self.id, "visibility": "PUBLIC",
                       "dataset": self._source.dataset, "num_prompts": info.rows,
                       "num_tokens_in_prompt": info.context_length, **own},
        }  # fmt: skip

    def features(self, ids: list[int]) -> Iterator[dict[str, Any]]:
        """One record a feature."""
        table = self._features.features().slice(ids[0], len(ids)).to_pylist()
        directions = self._source.sae.W_dec.float().cpu().numpy()
        for row in table:
            index = int(row["feature"])
            heights, values = _bars(row["histogram_bins"], row["histogram_counts"], float(row["max"]))
            yield {
                "modelId": self.model, "layer": self.id, "index": str(index), "creatorId": _CREATOR,
                "maxActApprox": float(row["max"]), "hasVector": True,
                "vector": [float(v) for v in directions[index]], "vectorLabel": None, "hookName": self._hook,
                "topkCosSimIndices": list(row["neighbours"]),
                "topkCosSimValues": [float(v) for v in row["neighbour_cosines"]],
                "neg_str": list(row["suppressed_tokens"] or ()), "neg_values": list(row["suppressed_logits"] or ()),
                "pos_str": list(row["promoted_tokens"] or ()), "pos_values": list(row["promoted_logits"] or ()),
                "frac_nonzero": float(row["density"]),
                "freq_hist_data_bar_heights": heights, "freq_hist_data_bar_values": values,
                **{name: [] for name in _EMPTY},
            }  # fmt: skip

    def activations(self, ids: list[int]) -> Iterator[dict[str, Any]]:
        """One record an example: the tokens of its window, and the feature's activation at each."""
        edges = {
            row["feature"]: row["part_edges"] for row in self._features.features(["feature", "part_edges"]).to_pylist()
        }
        for number, row in enumerate(self._features.examples(ids).to_pylist()):
            values = [float(v) for v in row["acts"]]
            start, index = int(row["start"]), int(row["feature"])
            tokens = self._tokens.read(int(row["row"]), int(row["row"]) + 1).input_ids[0, start : start + len(values)]
            part, inner = row["part"], edges[index]
            bounds = {"binMin": inner[part], "binMax": inner[part + 1]} if part is not None and inner else {}
            best = int(np.argmax(values))
            yield {
                "id": _id(self._source.name, index, number), "tokens": self._text.strings([int(t) for t in tokens]),
                "index": str(index), "layer": self.id, "modelId": self.model, "creatorId": _CREATOR,
                "maxValue": values[best], "maxValueTokenIndex": best, "minValue": min(values), "values": values,
                "dataIndex": str(row["row"]), "dataSource": self._source.dataset or None,
                "qualifyingTokenIndex": int(row["position"]) - start, **bounds,
            }  # fmt: skip


def _bars(bins: list[int], counts: list[int], largest: float) -> tuple[list[float], list[float]]:
    """Heights and left edges of equal bars up to the largest activation, from counts on the logarithmic grid."""
    if not bins or largest <= 0:
        return [], []
    middle = 2.0 ** ((np.array(bins) + 0.5) / PER_OCTAVE)
    edges = np.linspace(0, largest, _BARS + 1)
    heights, _ = np.histogram(np.minimum(middle, largest), edges, weights=np.array(counts, dtype=float))
    return [float(h) for h in heights], [float(e) for e in edges[:-1]]


def _id(name: str, feature: int, number: int) -> str:
    return "c" + hashlib.sha256(f"{name} {feature} {number}".encode()).hexdigest()[:24]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.rpartition("/")[2].partition("@")[0].lower()).strip("-") or "model"
