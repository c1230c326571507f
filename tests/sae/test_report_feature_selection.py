"""Which features get a page: a fair sample over densities."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sae.report.feature_selection import select_features, selection_rule

densities = st.lists(st.sampled_from([0.0, 0.001, 0.002, 0.01, 0.2]) | st.floats(0, 1), max_size=80).map(np.array)


@given(densities, st.integers(1, 30), st.integers(0, 5))
def test_one_alive_feature_from_each_rank(density: np.ndarray, pages: int, seed: int) -> None:
    chosen = select_features(density.astype(float), pages, seed)
    alive = np.flatnonzero(density > 0)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(alive.tolist())
    assert len(chosen) == min(pages, len(alive))
    ranked = alive[np.argsort(density[alive], kind="stable")].tolist()
    places = sorted(ranked.index(feature) for feature in chosen)
    bounds = [i * len(alive) // max(1, len(chosen)) for i in range(len(chosen) + 1)]
    assert all(bounds[i] <= place < bounds[i + 1] for i, place in enumerate(places))


def test_the_seed_decides() -> None:
    density = np.linspace(0.001, 0.5, 500)
    assert select_features(density, 50, 0) == select_features(density, 50, 0)
    assert select_features(density, 50, 0) != select_features(density, 50, 1)


def test_the_rule_in_words() -> None:
    assert "100 equal ranks" in selection_rule(400, 100, 3)
    assert "seed 3" in selection_rule(400, 100, 3)
    assert selection_rule(40, 40, 0).startswith("All 40 features")
