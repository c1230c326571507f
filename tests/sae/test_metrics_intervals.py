"""Intervals: closed forms, coverage, and differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.metrics.intervals import Z, difference, mean, ratio, share


def test_a_ratio_over_ones_is_a_mean_with_its_standard_error() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found, expected = ratio(values, np.ones(4)), mean(values)
    assert found is not None and expected is not None
    assert found.value == expected.value == 4.0
    assert found.error == pytest.approx(expected.error)
    assert expected.error == pytest.approx(values.std(ddof=1) / 2)
    body = found.body()
    assert body["high"] - body["value"] == pytest.approx(Z * values.std(ddof=1) / 2)


def test_equal_ratios_leave_no_doubt() -> None:
    found = ratio(np.array([1.0, 3.0, 5.0]), np.array([2.0, 6.0, 10.0]), complement=True)
    assert found is not None
    assert found.body() == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_what_is_not_defined_is_none_and_one_document_has_no_interval() -> None:
    assert ratio(np.ones(3), np.zeros(3)) is None
    assert mean(np.zeros(0)) is None
    assert share(0, 0) is None
    one = ratio(np.array([3.0]), np.array([4.0]))
    assert one is not None
    assert one.body() == {"value": 0.75, "low": None, "high": None}


def test_wilsons_interval() -> None:
    found = share(10, 100)
    assert found is not None and found.interval is not None
    assert found.interval == pytest.approx((0.05522914, 0.17436566), abs=1e-7)  # Wilson 1927, as tables have it
    none = share(0, 50)
    assert none is not None
    assert none.body()["low"] == 0 and 0.05 < none.body()["high"] < 0.08


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_a_difference_is_paired_by_document(seed: int) -> None:
    """What both figures share cancels: the error is that of the ratio of the differences."""
    rng = np.random.default_rng(seed)
    bottom = rng.uniform(1, 9, 40)
    a, extra = rng.normal(5, 3, 40), rng.normal(0, 0.1, 40)
    first, second, own = ratio(a + extra, bottom), ratio(a, bottom), ratio(extra, bottom)
    assert first is not None and second is not None and own is not None
    found = difference(first, second)
    assert found.value == pytest.approx(own.value, abs=1e-12)
    assert found.error == pytest.approx(own.error)
    assert first.error is not None and found.error is not None and found.error < first.error
    same = difference(first, first).body()
    assert same == {"value": 0, "low": 0, "high": 0}


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """The EV of 60 documents of very unlike lengths; the truth is 0.75."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(600):
        n = rng.integers(1, 40, 60)
        spread = np.array([rng.chisquare(size) for size in n])
        error = np.array([0.25 * rng.chisquare(size) for size in n])
        found = ratio(error, spread, complement=True)
        assert found is not None
        body = found.body()
        inside += body["low"] <= 0.75 <= body["high"]
    assert 0.92 < inside / 600 < 0.98


def test_differences_of_shares_and_of_means() -> None:
    a, b = share(56, 70), share(48, 80)
    assert a is not None and b is not None
    found = difference(a, b).body()
    assert found["value"] == pytest.approx(0.2)
    assert (found["low"], found["high"]) == pytest.approx((0.0524, 0.3339), abs=1e-4)  # Newcombe 1998, method 10
    c, d = mean(np.array([1.0, 3.0])), mean(np.array([2.0, 6.0]))
    assert c is not None and d is not None
    assert difference(c, d).error == pytest.approx((1 + 4) ** 0.5)
