"""Weights that training keeps: they stay, the others learn, a resumed run goes on the same way."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.architectures import TopKConfig
from sae.calibration import Calibration
from sae.training.frozen_weights import SOFT_COSINE, FrozenWeights, towards
from sae.training.sae_trainer import SaeTrainer

D = 16
KEPT = {"decoder": {"W_dec"}, "encoder": {"W_enc_t", "b_enc"}, "soft_decoder": set[str](), "none": set[str]()}


def trainer(frozen: str) -> SaeTrainer:
    config = TopKConfig.model_validate({"hook": "h", "d_sae": 64, "k": 4, "lr": 0.02, "lr_warmup": 0, "frozen": frozen})
    return SaeTrainer(config, Calibration("h", 1.0, 9.0, 0.7, torch.full((D,), 0.5), 1, 1, 0), total_steps=100)


def batch(seed: int) -> torch.Tensor:
    return torch.randn(64, D, generator=torch.Generator().manual_seed(seed)).abs()


def values(one: SaeTrainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in one.architecture.parameters.items()}


@pytest.mark.parametrize("frozen", KEPT)
def test_what_is_frozen_stays_and_the_rest_learns(frozen: str) -> None:
    one = trainer(frozen)
    start = values(one)
    for seed in range(60):
        one.step(batch(seed))
    end = values(one)
    assert {name for name in start if torch.equal(start[name], end[name])} == KEPT[frozen]
    cosines = torch.nn.functional.cosine_similarity(start["W_dec"], end["W_dec"])
    if frozen == "soft_decoder":
        assert cosines.min() == pytest.approx(SOFT_COSINE, abs=1e-6), "some row wanted to leave"
        torch.testing.assert_close(end["W_dec"].norm(dim=1), torch.ones(64))
    elif frozen == "none":
        assert cosines.min() < SOFT_COSINE - 0.05
    curve = one.curve()
    assert curve[-1].mse < curve[0].mse


@pytest.mark.parametrize("frozen", KEPT)
def test_a_resumed_run_gives_the_same_bytes(frozen: str) -> None:
    whole, first = trainer(frozen), trainer(frozen)
    for seed in range(8):
        whole.step(batch(seed))
        if seed < 4:
            first.step(batch(seed))
    second = trainer(frozen)
    second.load_state(first.state())
    for seed in range(4, 8):
        second.step(batch(seed))
    assert all(torch.equal(a, b) for a, b in zip(values(whole).values(), values(second).values(), strict=True))


def test_an_architecture_without_such_weights_is_refused() -> None:
    config = TopKConfig(hook="h", d_sae=4, k=1, frozen="encoder")
    with pytest.raises(
        ValueError, match=r"frozen = encoder, but architecture topk has no such weights .* W_dec, b_dec"
    ):
        FrozenWeights(config, {"W_dec": torch.eye(4), "b_dec": torch.zeros(4)})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 0.99))
def test_rows_turn_just_as_far_as_they_must(seed: int, cosine: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows, initial = (torch.randn(20, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    turned = towards(rows, initial, cosine)
    before, after = (torch.nn.functional.cosine_similarity(r, initial) for r in (rows, turned))
    torch.testing.assert_close(turned.norm(dim=1), rows.norm(dim=1))
    torch.testing.assert_close(after, before.clamp(min=cosine))
    assert torch.equal(turned[before >= cosine + 1e-9], rows[before >= cosine + 1e-9])
