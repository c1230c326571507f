"""Co-activation against dense products, for any codes, and what a budget of pairs leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.features import coactivation
from sae.features.coactivation import LEAST_JOINT, Coactivation, count_coactivation, npmi
from sae.labels.activations import Activations, by_feature


def random_codes(features: int, positions: int, density: float, seed: int) -> tuple[np.ndarray, Activations]:
    """Dense activity bool [positions, features] of features that come in groups, and the same as codes."""
    random = np.random.default_rng(seed)
    groups = random.random((positions, -(-features // 4))) < density
    active = np.repeat(groups, 4, axis=1)[:, :features] & (random.random((positions, features)) < 0.7)
    position, feature = np.nonzero(active)
    return active, by_feature(feature, position, np.ones(len(feature), np.float32), features)


def by_brute_force(active: np.ndarray, most: int) -> list[list[tuple[int, int, float]]]:
    """Partner, joint count and NPMI of each feature, from the dense product."""
    counts, dense = active.sum(0), active.astype(np.float64)
    joint = dense.T @ dense
    partners = []
    for feature, row in enumerate(joint.astype(np.int64)):
        others = [other for other in range(len(row)) if other != feature and row[other] >= LEAST_JOINT]
        scores = npmi(row[others], counts[feature], counts[others], len(active)) if others else np.zeros(0)
        found = sorted(
            zip(others, row[others].tolist(), scores.tolist(), strict=True), key=lambda one: (-one[2], one[0])
        )
        partners.append(found[:most])
    return partners


def entries(found: Coactivation) -> list[list[tuple[int, int, float]]]:
    flat = list(zip(found.partner.tolist(), found.joint.tolist(), found.npmi.tolist(), strict=True))
    return [flat[first:stop] for first, stop in zip(found.starts[:-1], found.starts[1:], strict=True)]


def same(found: Coactivation, wanted: list[list[tuple[int, int, float]]]) -> None:
    for mine, theirs in zip(entries(found), wanted, strict=True):
        assert [one[:2] for one in mine] == [one[:2] for one in theirs]
        assert [one[2] for one in mine] == pytest.approx([one[2] for one in theirs], abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 200),
    st.floats(0.0, 1.0),
    st.integers(1, 8),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_partners_are_those_of_a_dense_product(
    features: int, positions: int, density: float, most: int, seed: int, small: bool
) -> None:
    active, codes = random_codes(features, positions, density, seed)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(coactivation, "_CELLS", 3 * features)
        found = count_coactivation(codes.starts, codes.positions, np.ones(positions, np.bool_), most, threads=2)
    assert found.positions == positions
    assert found.counts.tolist() == active.sum(0).tolist()
    same(found, by_brute_force(active, most))


def test_two_thousand_features_by_brute_force() -> None:
    active, codes = random_codes(2000, 4000, 0.004, 1)
    found = count_coactivation(codes.starts, codes.positions, np.ones(4000, np.bool_), 20)
    assert len(found.partner) > 4000
    same(found, by_brute_force(active, 20))


def test_npmi_is_one_together_none_by_chance_and_negative_apart() -> None:
    values = npmi(np.array([50, 5, 1, 100]), np.array([50, 50, 50, 100]), np.array([50, 10, 10, 100]), 100)
    assert values.tolist() == pytest.approx([1.0, 0.0, np.log(1 / 5) / np.log(100), 1.0])


def test_positions_without_data_do_not_count_and_pairs_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    active, codes = random_codes(12, 300, 0.5, 3)
    data = np.ones(300, np.bool_)
    silent = np.flatnonzero(~active.any(1))
    data[silent] = False
    assert count_coactivation(codes.starts, codes.positions, data, 3).positions == 300 - len(silent)
    pairs = np.cumsum(active.sum(1) ** 2)
    monkeypatch.setattr(coactivation, "_PAIRS", int(pairs[99]))
    found = count_coactivation(codes.starts, codes.positions, np.ones(300, np.bool_), 3)
    within = int(np.searchsorted(pairs, pairs[99], side="right"))
    assert 100 <= found.positions == within < 300
    assert found.counts.tolist() == active[:within].sum(0).tolist()
    same(found, by_brute_force(active[:within], 3))
