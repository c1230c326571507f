"""Targeted probe perturbation (TPP, Karvonen et al. 2024): does ablating a class's latents hurt that class's probe alone?

Probes read the hook. Ablating a latent subtracts its code times its decoder row from the activation, so from the mean over a
document its mean code times that row: exactly, as both are linear. A class's latents are those that add most to its probe's
logit: mean code of the class less that of the others, times what the decoder row adds. TPP is the accuracy that a class's
probe loses by its own latents, less what the other classes' probes lose by them, averaged over classes. The control ablates
as many random latents that are active as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from configs.probe import ProbeConfig
from sae.formats.labelled_rows import Int64
from sae.probing.latents import LatentSource, largest, random_like
from sae.probing.logistic import Probe
from sae.probing.scores import Score, accuracy, combination, mean
from sae.probing.sets import ProbeSet
from sae.probing.sparse_probes import correct

Floats = NDArray[np.float64]


class Perturbation(NamedTuple):
    """Accuracy that probes lose: of the class whose latents are ablated, of the other classes, and the first less the second."""

    intended: Score
    unintended: Score
    tpp: Score


class Ablated(NamedTuple):
    """By number of latents: the perturbation by the chosen ones, and by random ones."""

    chosen: dict[int, Perturbation]
    random: dict[int, Perturbation]
    latents: list[Int64]  # of each class


def perturbations(
    source: LatentSource,
    sets: Sequence[ProbeSet],
    probes: Sequence[Probe],
    logits: Floats,
    differences: Floats,
    config: ProbeConfig,
) -> Ablated:
    """Of two classes or more. logits [D, C] of the probes on the hook; differences [C, d_sae] of mean codes."""
    effects, found = source.effects(probes), []
    own: dict[int, list[list[Score]]] = {n: [] for n in config.ablated}
    random: dict[int, list[list[Score]]] = {n: [] for n in config.ablated}
    for number in range(len(sets)):
        chosen = largest(differences[number] * effects[:, number], max(config.ablated))
        generator = default_rng([config.seed, 4, number])
        drawn = [random_like(chosen, source.active, generator) for _ in range(config.draws)]
        found.append(chosen)
        changes = logit_changes(source, effects, [chosen, *drawn], config.ablated)
        for n in config.ablated:
            first, *others = changes[n]
            own[n].append(_losses(sets, logits, [first]))
            random[n].append(_losses(sets, logits, others))
    return Ablated({n: _summed(own[n]) for n in own}, {n: _summed(random[n]) for n in random}, found)


def logit_changes(
    source: LatentSource, effects: Floats, latents: Sequence[Int64], sizes: Sequence[int]
) -> dict[int, list[Floats]]:
    """What the first n latents of each list add to the logits [D, P], for n in `sizes`; effects [d_sae, P]."""
    wanted = np.unique(np.concatenate(latents))
    codes = source.codes(wanted)
    found: dict[int, list[Floats]] = {}
    for n in sizes:
        found[n] = [codes[:, np.searchsorted(wanted, one[:n])] @ effects[one[:n]] for one in latents]
    return found


def _losses(sets: Sequence[ProbeSet], logits: Floats, changes: Sequence[Floats]) -> list[Score]:
    """Accuracy that each probe loses when the changes [D, C] are taken away, averaged over them."""
    found = []
    for number, one in enumerate(sets):
        before = correct(logits[one.test, number], one.test_y)
        after = [correct((logits - change)[one.test, number], one.test_y) for change in changes]
        lost = accuracy(before - np.mean(after, axis=0), one.test, len(logits))
        found.append(lost)
    return found


def _summed(losses: list[list[Score]]) -> Perturbation:
    """From the loss of each probe (second) by the latents of each class (first)."""
    classes = range(len(losses))
    intended = mean([losses[i][i] for i in classes])
    unintended = mean([losses[i][j] for i in classes for j in classes if i != j])
    return Perturbation(intended, unintended, combination([1, -1], [intended, unintended]))
