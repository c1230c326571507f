"""All figures of one SAE on labelled documents, beside their controls, as plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.probe import ProbeConfig
from sae.formats.sae_folder import Sae
from sae.probing.document_means import DocumentMeans
from sae.probing.documents import CELLS, NO_LABEL, Labelled, check_counts
from sae.probing.latents import LatentSource
from sae.probing.perturbation import Ablated, perturbations
from sae.probing.scores import (
    METHOD,
    Score,
    accuracy,
    change_estimate,
    change_figure,
    mean,
    share_estimate,
    share_figure,
)
from sae.probing.sets import ProbeSet, class_sets, spurious_sets
from sae.probing.sparse_probes import (
    SparseProbes,
    class_differences,
    correct,
    dimension_probes,
    full_probe,
    permuted_differences,
    permuted_labels,
    sparse_probes,
)
from sae.probing.spurious import remove, scr, spurious_probes

Floats = NDArray[np.float64]
RANDOM, PERMUTED, DIMENSIONS = "random latents", "permuted labels", "dimensions of the hook"


class ProbingFigures:
    """What is common to all figures: the sets, the probes on the hook, and the codes of the SAE and those beside it."""

    def __init__(
        self, means: DocumentMeans, documents: Labelled, saes: Sequence[Sae], names: Sequence[str], config: ProbeConfig
    ) -> None:
        """`saes`: the SAE, then those beside it, with their `names`. Raises ProbingError for too few documents with data."""
        usable = means.positions > 0
        # A document without data positions counts for nothing.
        self._documents = documents._replace(
            label=np.where(usable, documents.label, NO_LABEL), cell=np.where(usable, documents.cell, -1)
        )
        check_counts(self._documents, config)
        self._means, self._saes, self._names, self._config, self._usable = means, saes, names, config, usable
        self._sets = class_sets(self._documents, usable, config.seed)
        train = usable & ~documents.test
        self._sources = [LatentSource(means, number, sae, train) for number, sae in enumerate(saes)]
        self._differences = [class_differences(source, self._sets, len(usable)) for source in self._sources]
        self._probes = [full_probe(means.acts, one, config) for one in self._sets]
        self._logits = np.stack([probe.logits(means.acts) for probe in self._probes], axis=1)

    def body(self) -> dict[str, Any]:
        """All of them."""
        documents, usable = self._documents, self._usable
        return {
            "method": METHOD,
            "documents": {
                "train": int((usable & ~documents.test).sum()),
                "test": int((usable & documents.test).sum()),
                "without_data": int((~usable).sum()),
                "unlabelled": documents.unlabelled,
                "unread": documents.unread,
                "positions": int(self._means.positions.sum()),
            },
            "excluded": dict(self._means.excluded),
            **self._sparse_probing(),
            "perturbation": self._perturbation(),
            "spurious": self._spurious(),
        }

    def _sparse_probing(self) -> dict[str, Any]:
        config, means = self._config, self._means
        permuted = permuted_labels(self._sets, config)
        moved = permuted_differences(self._sources[0], self._sets, permuted, len(means.positions))
        found: list[dict[str, dict[int, Score]]] = []
        full, classes = [], []
        for number, (name, one) in enumerate(zip(self._documents.classes, self._sets, strict=True)):
            own = self._class_probes(number, one, permuted[number], moved[number])
            scores = {
                "sae": own[0].sae,
                RANDOM: own[0].random,
                DIMENSIONS: dimension_probes(means.acts, one, config),
                PERMUTED: own[0].permuted,
                **{beside: probes.sae for beside, probes in zip(self._names[1:], own[1:], strict=True)},
            }
            right = correct(self._logits[one.test, number], one.test_y)
            full.append(accuracy(right, one.test, len(means.positions)))
            found.append(scores)
            rows = self._rows([scores])
            for row in rows:
                row["latents"] = own[0].latents[: row["k"]].tolist()
            counts = {"train": len(one.train), "test": len(one.test)}
            hook = share_estimate(full[-1]).body()
            classes.append({"class": name, **counts, "whole_hook": hook, "sparse_probing": rows})
        return {
            "whole_hook": share_estimate(mean(full)).body(),
            "sparse_probing": self._rows(found),
            "classes": classes,
        }

    def _class_probes(
        self, number: int, one: ProbeSet, permuted: list[NDArray[np.bool_]], moved: Floats
    ) -> list[SparseProbes]:
        """Of each SAE; controls of the first alone."""
        return [
            sparse_probes(
                source,
                number,
                one,
                difference[number],
                permuted if i == 0 else None,
                moved if i == 0 else None,
                self._config,
            )
            for i, (source, difference) in enumerate(zip(self._sources, self._differences, strict=True))
        ]

    def _rows(self, found: Sequence[dict[str, dict[int, Score]]]) -> list[dict[str, Any]]:
        """Accuracy by k: the mean over what was found of each class."""
        rows: list[dict[str, Any]] = []
        for k in self._config.k:
            by_name = {name: mean([one[name][k] for one in found]) for name in found[0]}
            own = by_name.pop("sae")
            rows.append({"k": k, **share_figure(own, by_name)})
        return rows

    def _perturbation(self) -> dict[str, Any]:
        if reason := self._why_not():
            return {"reason": reason}
        if len(self._sets) < 2:
            return {"reason": "one class alone has no other classes' probes that could change"}
        found: list[Ablated] = [
            perturbations(source, self._sets, self._probes, self._logits, difference, self._config)
            for source, difference in zip(self._sources, self._differences, strict=True)
        ]
        rows = []
        for n in self._config.ablated:
            row: dict[str, Any] = {"ablated": n}
            for figure in ("tpp", "intended", "unintended"):
                own = getattr(found[0].chosen[n], figure)
                controls = {RANDOM: getattr(found[0].random[n], figure)}
                for name, one in zip(self._names[1:], found[1:], strict=True):
                    controls[name] = getattr(one.chosen[n], figure)
                row[figure] = change_figure(own, controls)
            rows.append(row)
        latents = dict(zip(self._documents.classes, (one.tolist() for one in found[0].latents), strict=True))
        return {"rows": rows, "latents": latents}

    def _spurious(self) -> dict[str, Any] | None:
        config, acts = self._config, self._means.acts
        if config.spurious is None:
            return None
        if reason := self._why_not():
            return {"reason": reason}
        sets = spurious_sets(self._documents, self._usable, config.seed)
        probes = spurious_probes(acts, sets, config)
        found = [remove(source, sets, probes, acts, config) for source in self._sources]
        gap = change_estimate(probes.gap).body()
        body: dict[str, Any] = {
            "documents": [
                {
                    "class": config.spurious.classes[a],
                    "value": config.spurious.values[b],
                    "documents": int((self._documents.cell == i).sum()),
                }
                for i, (a, b) in enumerate(CELLS)
            ],
            "train": len(sets.biased.train),
            "test": len(sets.biased.test),
            "biased": share_estimate(probes.biased_accuracy).body(),
            "oracle": share_estimate(probes.oracle_accuracy).body(),
            "spurious_value": share_estimate(probes.value_accuracy).body(),
            "gap": gap,
            "latents": found[0].latents.tolist(),
        }
        if gap["low"] <= 0:
            body["reason"] = (
                "the biased probe is not clearly worse than the balanced one (`gap` may be 0), so there is no share of a loss to "
                "get back: SCR is not defined for these labels at this hook"
            )
        rows = []
        for n in config.ablated:
            after = {RANDOM: found[0].random[n]}
            after |= {name: one.chosen[n] for name, one in zip(self._names[1:], found[1:], strict=True)}
            row: dict[str, Any] = {"ablated": n, "accuracy": share_figure(found[0].chosen[n], after)}
            if "reason" not in body:
                controls = {name: scr(one, probes) for name, one in after.items()}
                row["scr"] = change_figure(scr(found[0].chosen[n], probes), controls)
            rows.append(row)
        return {**body, "rows": rows}

    def _why_not(self) -> str:
        """Why ablating a latent is not subtracting its code times its decoder row; empty if it is."""
        for name, sae in zip(self._names, self._saes, strict=True):
            if sae.scales_each_input:
                return f"{name} scales each activation by itself: what a latent adds is not its code times a direction"
        return ""


def headline(body: dict[str, Any]) -> dict[str, Any]:
    """The figures that a manifest's summary shows: at the largest k, and at the largest number of ablated latents.

    `tpp` and `scr` are missing where they are not defined.
    """
    last = max(body["sparse_probing"], key=lambda row: int(row["k"]))
    found: dict[str, Any] = {
        "classes": len(body["classes"]),
        "documents": body["documents"]["train"] + body["documents"]["test"],
        "k": last["k"],
        "accuracy": last["sae"]["value"],
        "accuracy_of_controls": {one["control"]: one["value"] for one in last["controls"]},
        "accuracy_of_whole_hook": body["whole_hook"]["value"],
    }
    for part, figure in (("perturbation", "tpp"), ("spurious", "scr")):
        rows = [row for row in (body[part] or {}).get("rows", ()) if figure in row]
        if rows:
            row = max(rows, key=lambda row: int(row["ablated"]))
            found |= {"ablated": row["ablated"], figure: row[figure]["sae"]["value"]}
            found[f"{figure}_of_controls"] = {one["control"]: one["value"] for one in row[figure]["controls"]}
    return found
