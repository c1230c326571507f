"""Features that tell two groups of texts apart: effects against a loop, planted features, and what chance reaches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.features.contrast import contrast


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 7), st.integers(1, 12))
def test_the_effect_is_the_share_of_pairs_that_the_second_group_wins(seed: int, n: int, m: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 4, (size, width)).astype(np.float32) for size in (n, m))
    for one in contrast(a, b, width).features:
        pairs = [(y > x) + 0.5 * (y == x) for x in a[:, one.latent] for y in b[:, one.latent]]
        assert one.effect == pytest.approx(np.mean(pairs))
        assert one.low - 1e-9 <= one.effect <= one.high + 1e-9
        assert one.active_a == int((a[:, one.latent] > 0).sum())


def test_planted_features_come_first_and_beyond_chance_and_no_others() -> None:
    rng = np.random.default_rng(0)
    a, b = (np.maximum(rng.normal(size=(30, 400)), 0).astype(np.float32) for _ in range(2))
    b[:, 17] += 2
    a[:, 250] += 2
    found = contrast(a, b, 10)
    assert {one.latent for one in found.features[:2]} == {17, 250}
    beyond = [one.latent for one in found.features if abs(one.effect - 0.5) > found.chance]
    assert set(beyond) == {17, 250}
    by_latent = {one.latent: one for one in found.features}
    assert by_latent[17].low > 0.9
    assert by_latent[250].high < 0.1


def test_groups_that_do_not_differ_stay_within_chance_in_95_of_100_tries() -> None:
    beyond = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a, b = (rng.random((12, 100)).astype(np.float32) for _ in range(2))
        found = contrast(a, b, 1, seed)
        beyond += abs(found.features[0].effect - 0.5) > found.chance
    assert beyond <= 6


def test_one_text_is_no_group() -> None:
    with pytest.raises(ValueError, match="at least two texts"):
        contrast(np.ones((1, 3), np.float32), np.ones((5, 3), np.float32), 2)
