"""Nearest directions of another SAE: against a plain loop, and beyond chance only where something is the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sae.features.similar import decoder_directions, similar


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 8), st.integers(1, 10))
def test_they_are_the_largest_cosines(seed: int, n: int, d: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    others = rng.normal(size=(n, d)).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    found = similar(others[0], others, count)
    expected = sorted((-float(one @ others[0]), i) for i, one in enumerate(others))[:count]
    assert found.cosines == pytest.approx([-cosine for cosine, _ in expected], abs=1e-5)
    assert found.cosines[0] == pytest.approx(1, abs=1e-5)


def test_a_direction_that_is_there_is_beyond_chance_and_a_random_one_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(2024)
    weights = 3 * rng.normal(size=(500, 64)).astype(np.float32)
    weights[7] = 0
    (tmp_path / "cfg.json").write_text(json.dumps({"metadata": {"hook_name": "blocks.1.hook_resid_post"}}))
    save_file({"W_dec": weights}, tmp_path / "sae_weights.safetensors")
    others = decoder_directions(tmp_path)
    assert not others[7].any()
    near = others[3] + 0.05 * rng.normal(size=64).astype(np.float32)
    found = similar(near / np.linalg.norm(near), others, 5)
    assert found.latents[0] == 3
    assert found.cosines[0] > found.chance > found.cosines[1]
    beyond = 0
    for _ in range(200):
        drawn = rng.normal(size=64).astype(np.float32)
        beyond += similar(drawn / np.linalg.norm(drawn), others, 1).cosines[0] > found.chance
    assert beyond <= 25
    with pytest.raises(ValueError, match="64 and of 32 dimensions"):
        similar(others[0], others[:, :32], 5)
