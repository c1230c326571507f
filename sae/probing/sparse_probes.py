"""Sparse probing: how well k latents tell a class from the other documents.

The k latents are those whose mean codes differ most between the class and the others (Gurnee et al. 2023; SAEBench). Controls:
as many dimensions of the hook, chosen in the same way; random latents that are active as often; the same method on permuted
labels. A probe on all dimensions of the hook is the reference above.
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
from sae.probing.logistic import Probe, fit
from sae.probing.scores import Score, accuracy
from sae.probing.sets import ProbeSet, contrast

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class SparseProbes(NamedTuple):
    """Accuracies of one class by k, and the latents that were chosen, the one that differs most first."""

    latents: Int64
    sae: dict[int, Score]
    random: dict[int, Score]
    permuted: dict[int, Score]


def permuted_labels(sets: Sequence[ProbeSet], config: ProbeConfig) -> list[list[Mask]]:
    """Training labels of each class in random orders: bool [n] for each draw."""
    found = []
    for number, one in enumerate(sets):
        random = default_rng([config.seed, 2, number])
        found.append([random.permutation(one.train_y) for _ in range(config.draws)])
    return found


def class_differences(source: LatentSource, sets: Sequence[ProbeSet], documents: int) -> Floats:
    """Mean codes of each class less those of its others, over training documents: [C, d_sae]."""
    return source.differences(np.stack([contrast(one.train, one.train_y, documents) for one in sets]))


def permuted_differences(
    source: LatentSource, sets: Sequence[ProbeSet], permuted: Sequence[Sequence[Mask]], documents: int
) -> list[Floats]:
    """The same with permuted labels: [draws, d_sae] for each class."""
    weights = [contrast(one.train, y, documents) for one, own in zip(sets, permuted, strict=True) for y in own]
    draws = len(permuted[0])
    found = source.differences(np.stack(weights))
    return [found[i * draws : (i + 1) * draws] for i in range(len(sets))]


def sparse_probes(
    source: LatentSource,
    number: int,
    one: ProbeSet,
    difference: Floats,
    permuted: Sequence[Mask] | None,
    permuted_difference: Floats | None,
    config: ProbeConfig,
) -> SparseProbes:
    """Probes of class `number` on latents, whose `difference` is [d_sae]. Without `permuted`, no controls are made."""
    most = max(config.k)
    chosen = largest(np.abs(difference), most)
    if permuted is None or permuted_difference is None:
        return SparseProbes(chosen, _by_k(source.codes(chosen), one, config), {}, {})
    random = default_rng([config.seed, 3, number])
    drawn = [random_like(chosen, source.active, random) for _ in permuted]
    others = [largest(np.abs(row), most) for row in permuted_difference]
    wanted = np.unique(np.concatenate([chosen, *drawn, *others]))
    codes = source.codes(wanted)

    def of(latents: Int64) -> Floats:
        return codes[:, np.searchsorted(wanted, latents)]

    randoms = [_correct(of(latents), one, one.train_y, config) for latents in drawn]
    permutations = [_correct(of(latents), one, y, config) for latents, y in zip(others, permuted, strict=True)]
    return SparseProbes(
        chosen,
        _by_k(of(chosen), one, config),
        _averaged(randoms, one, len(codes)),
        _averaged(permutations, one, len(codes)),
    )


def dimension_probes(acts: Floats, one: ProbeSet, config: ProbeConfig) -> dict[int, Score]:
    """Probes on k dimensions of the hook, chosen as latents are: by k."""
    weights = contrast(one.train, one.train_y, len(acts))
    return _by_k(acts[:, largest(np.abs(weights @ acts), max(config.k))], one, config)


def full_probe(acts: Floats, one: ProbeSet, config: ProbeConfig) -> Probe:
    """The probe on all dimensions of the hook."""
    return fit(acts[one.train], one.train_y, config.l2)


def correct(logits: Floats, y: Mask) -> Floats:
    """1 where the sign of a logit [n] is right, else 0."""
    found: Floats = ((logits > 0) == y).astype(np.float64)
    return found


def _by_k(x: Floats, one: ProbeSet, config: ProbeConfig) -> dict[int, Score]:
    return _averaged([_correct(x, one, one.train_y, config)], one, len(x))


def _correct(x: Floats, one: ProbeSet, train_y: Mask, config: ProbeConfig) -> dict[int, Floats]:
    """Which test documents the probe on the first k columns of x [D, m] gets right, by k."""
    found = {}
    for k in config.k:
        probe = fit(x[one.train][:, :k], train_y, config.l2)
        found[k] = correct(probe.logits(x[one.test][:, :k]), one.test_y)
    return found


def _averaged(draws: Sequence[dict[int, Floats]], one: ProbeSet, documents: int) -> dict[int, Score]:
    return {k: accuracy(np.mean([draw[k] for draw in draws], axis=0), one.test, documents) for k in draws[0]}
