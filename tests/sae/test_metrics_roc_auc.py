"""ROC-AUC against counts of pairs, and its interval against what defines it."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae.metrics.intervals import Z
from sae.metrics.roc_auc import auc_intervals, roc_auc

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_the_auc_is_the_share_of_pairs_in_order_a_tie_a_half(positive: list[int], negative: list[int]) -> None:
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    found = roc_auc(np.array([positive + negative], np.float32), len(positive))
    assert found.tolist() == [pytest.approx(sum(pairs) / len(pairs))]


def test_without_both_kinds_there_is_no_auc_and_no_interval() -> None:
    for positive in (0, 3):
        auc = roc_auc(np.zeros((2, 3), np.float32), positive)
        assert np.isnan(auc).all()
        assert np.isnan(auc_intervals(auc, np.full(2, positive), np.full(2, 3 - positive))).all()


@given(st.floats(0.02, 0.98), st.integers(2, 200), st.integers(2, 200))
def test_each_end_is_z_standard_errors_of_hanley_and_mcneil_away(auc: float, m: int, n: int) -> None:
    low, high = (float(end[0]) for end in auc_intervals(np.array([auc]), np.array([m]), np.array([n])))
    assert 0 <= low < auc < high <= 1
    for end in (low, high):
        pairs = (m + n) / 2 - 1
        variance = end * (1 - end) * (1 + pairs * ((1 - end) / (2 - end) + end / (1 + end))) / (m * n)
        assert abs(auc - end) == pytest.approx(Z * sqrt(variance), rel=1e-6)


def test_the_interval_has_a_width_at_both_ends_and_is_the_same_for_the_opposite_order() -> None:
    many = np.array([5, 50, 500])
    low, high = auc_intervals(np.ones(3), many, many)
    assert (high == 1).all() and (low > 0.5).all() and (np.diff(low) > 0).all() and (low < 1).all()
    other = auc_intervals(np.zeros(3), many, many)
    assert np.allclose(other[1], 1 - low) and (other[0] == 0).all()


def test_the_interval_holds_the_truth_in_95_of_100_samples() -> None:
    random = np.random.default_rng(0)
    truth, n, samples = 0.7602, 40, 2000  # of normals one standard deviation apart: Phi(1 / sqrt(2))
    scores = np.concatenate([random.normal(1, 1, (samples, n)), random.normal(0, 1, (samples, n))], 1)
    low, high = auc_intervals(roc_auc(scores.astype(np.float32), n), np.full(samples, n), np.full(samples, n))
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.95, abs=0.02)
