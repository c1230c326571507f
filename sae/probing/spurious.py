"""Spurious correlation removal (SCR, Karvonen et al. 2024): does ablating latents free a probe of a spurious value?

The biased probe is trained on documents whose class always goes with a spurious value, and tested where it does not. The latents
that matter most to a probe of the spurious value are ablated, as in perturbation.py. SCR is the share of the lost accuracy that
comes back: (ablated - biased) / (oracle - biased), where the oracle is a probe that was trained on balanced documents.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from configs.probe import ProbeConfig
from sae.formats.labelled_rows import Int64
from sae.probing.latents import LatentSource, largest, random_like
from sae.probing.logistic import Probe
from sae.probing.perturbation import logit_changes
from sae.probing.scores import Score, accuracy, combination, quotient
from sae.probing.sets import SpuriousSets, contrast
from sae.probing.sparse_probes import correct, full_probe

Floats = NDArray[np.float64]


class SpuriousProbes(NamedTuple):
    """Probes on the hook: of the class from biased and from balanced documents, and of the spurious value; test accuracies."""

    biased: Probe
    value: Probe
    biased_accuracy: Score
    oracle_accuracy: Score
    value_accuracy: Score

    @property
    def gap(self) -> Score:
        """Accuracy that the bias costs."""
        return combination([1, -1], [self.oracle_accuracy, self.biased_accuracy])


class Removal(NamedTuple):
    """By number of latents: accuracy of the biased probe after they are ablated; of random ones too. And the chosen latents."""

    chosen: dict[int, Score]
    random: dict[int, Score]
    latents: Int64


def spurious_probes(acts: Floats, sets: SpuriousSets, config: ProbeConfig) -> SpuriousProbes:
    """Trains them on mean activations [D, d]."""
    probes = [full_probe(acts, one, config) for one in sets]
    scores = [
        accuracy(correct(probe.logits(acts[one.test]), one.test_y), one.test, len(acts))
        for probe, one in zip(probes, sets, strict=True)
    ]
    return SpuriousProbes(probes[0], probes[2], *scores)


def remove(
    source: LatentSource, sets: SpuriousSets, probes: SpuriousProbes, acts: Floats, config: ProbeConfig
) -> Removal:
    """Ablates latents of one SAE."""
    one = sets.spurious
    effects = source.effects([probes.biased, probes.value])
    difference = source.differences(contrast(one.train, one.train_y, len(acts))[None])[0]
    chosen = largest(np.abs(difference * effects[:, 1]), max(config.ablated))
    random = default_rng([config.seed, 5])
    drawn = [random_like(chosen, source.active, random) for _ in range(config.draws)]
    changes = logit_changes(source, effects[:, :1], [chosen, *drawn], config.ablated)
    logits, test, y = probes.biased.logits(acts), sets.biased.test, sets.biased.test_y

    def score(removed: list[Floats]) -> Score:
        after = [correct((logits - change[:, 0])[test], y) for change in removed]
        return accuracy(np.mean(after, axis=0), test, len(acts))

    return Removal(
        {n: score(found[:1]) for n, found in changes.items()},
        {n: score(found[1:]) for n, found in changes.items()},
        chosen,
    )


def scr(after: Score, probes: SpuriousProbes) -> Score:
    """The share of the lost accuracy that came back; the gap's value must not be 0."""
    return quotient(combination([1, -1], [after, probes.biased_accuracy]), probes.gap)
