"""Options of an SAE's training: each changes what it says, and a checkpoint loses none of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.architectures import ARCHITECTURES, SaeConfig, TopKConfig
from configs.architectures.steps import steps_of
from sae.architectures import Step
from sae.formats.artifact_files import LocalFiles
from sae.formats.sae_folder import write_sae
from sae.training.initial_weights import initial_tensors
from sae.training.resampling import worst_directions
from sae.training.sae_trainer import SaeTrainer, clip
from sae.training.schedule import learning_rate
from tests.sae.test_architectures import OWN, STEPS, batch, config_of, trainer_of

START = "saes/" + "5" * 16


def topk(**settings: Any) -> SaeConfig:
    return TopKConfig.model_validate({"hook": "h", "d_sae": 8, "k": 1, "lr": 1.0, **settings})


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"lr_warmup": 4, "lr_decay": 0}, {0: 0.25, 2: 0.75, 4: 1.0, 99: 1.0}),
        ({"lr_warmup": "10%", "lr_decay": 20}, {0: 0.1, 9: 1.0, 80: 1.0, 90: 0.5, 99: 0.05}),
        (
            {"lr_warmup": 0, "lr_decay": "100%", "lr_decay_shape": "cosine"},
            {0: 1.0, 25: (1 + 0.5**0.5) / 2, 50: 0.5, 99: 2.467e-4},
        ),
    ],
)  # fmt: skip
def test_schedules_by_step_and_by_share(settings: dict[str, Any], rates: dict[int, float]) -> None:
    found = {step: learning_rate(topk(**settings), step, 100) for step in rates}
    assert found == pytest.approx(rates, abs=1e-6)


def test_a_share_is_one_value_however_it_is_written() -> None:
    assert topk(lr_warmup="5.0%") == topk(lr_warmup="5%")
    assert steps_of("5%", 200) == steps_of(10, 200) == 10
    for wrong in ("5", "101%", "-1%", "x%", -1):
        with pytest.raises(ValueError, match="lr_warmup"):
            topk(lr_warmup=wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr_decay": 0, "lr_decay_shape": "cosine"}, "lr_decay_shape = cosine has no effect where lr_decay is 0"),
        ({"k_start": 4}, "k_start and k_warmup belong together"),
        ({"k_warmup": 4}, "k_start and k_warmup belong together"),
        ({"k_start": 9, "k_warmup": 4}, "k_start = 9 is larger than d_sae = 8"),
        ({"resample_every": 0}, "resample_every is a number of steps above 0"),
        ({"resample_every": 5, "frozen": "decoder"}, "resample_every gives new weights to latents whose decoder is frozen"),
    ],
)  # fmt: skip
def test_options_without_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        topk(**settings)


def test_gradients_are_scaled_down_to_the_norm() -> None:
    gradients = {"a": torch.tensor([[3.0, 0.0], [0.0, 4.0]]), "b": torch.tensor([12.0])}
    clip(gradients, 26.0)
    assert gradients["b"].item() == 12.0, "a smaller norm is left"
    clip(gradients, 6.5)
    torch.testing.assert_close(gradients["a"], torch.tensor([[1.5, 0.0], [0.0, 2.0]]))
    assert math.hypot(1.5, 2.0, gradients["b"].item()) == pytest.approx(6.5)


def test_k_goes_from_its_start_to_its_end() -> None:
    one = trainer_of(config_of("topk", k=4, k_start=12, k_warmup="50%", aux_coefficient=0.0))
    for number in range(STEPS):
        one.step(batch(number).abs() + 1)
    config = one.config
    assert isinstance(config, TopKConfig)
    chosen = [config.k_at(step, STEPS) for step in range(STEPS)]
    assert (chosen[0], chosen[15], chosen[30], chosen[-1]) == (12, 8, 4, 4)
    assert sorted(chosen, reverse=True) == chosen
    l0 = [point.l0 for point in one.curve()]
    assert l0[0] > 8
    assert l0[-1] <= 4


@pytest.mark.parametrize("name", OWN)
def test_dead_latents_get_new_weights_and_are_active_again(name: str) -> None:
    def trained(**settings: object) -> SaeTrainer:
        one = trainer_of(config_of(name, aux_coefficient=0.0, **settings))
        for number in range(STEPS):
            if number == 5:
                with torch.no_grad():  # half of the latents die
                    for key, value in one.architecture.parameters.items():
                        if key in ("b_enc", "b_gate"):
                            value[:32] = -100
                        elif name == "matchingpursuit" and key == "W_dec":
                            value[:32] = value[40].clone()  # one of equals is chosen
            one.step(batch(number))
        return one

    off: dict[str, object] = {"revival_coefficient": 0.0} if name in ("standard", "gated", "jumprelu") else {}
    dead, alive = trained(**off), trained(**off, resample_every=15)
    counts = [int((one.tokens_since_active >= 512).sum()) for one in (dead, alive)]
    assert counts[0] >= 20
    assert counts[1] < counts[0] / 2
    assert alive.curve()[-1].mse < 1.3 * dead.curve()[-1].mse


def test_new_directions_are_those_of_large_errors() -> None:
    slope = torch.cat([torch.eye(6) * 100, torch.randn(500, 6, generator=torch.Generator().manual_seed(0))])
    found = worst_directions(slope, 6, seed=1, step=2)
    assert torch.equal(found.norm(dim=1), torch.ones(6))
    assert torch.equal(found.sum(0), -torch.ones(6)), "each large error once"
    assert torch.equal(found, worst_directions(slope, 6, seed=1, step=2))
    assert not torch.equal(found, worst_directions(slope, 6, seed=1, step=3))
    assert len(worst_directions(torch.zeros(5, 6), 3, 0, 0)) == 0


@pytest.mark.parametrize("name", OWN)
def test_training_goes_on_from_another_sae(name: str, tmp_path: Path) -> None:
    first = trainer_of(config_of(name))
    for number in range(STEPS):
        first.step(batch(number))
    first.measure(batch(STEPS))
    write_sae(tmp_path, name, first.export(), {"hook_name": "h"}, first.calibration, {})
    config = config_of(name, start_from=START)
    second = SaeTrainer(config, first.calibration, STEPS, initial=initial_tensors(LocalFiles(tmp_path), config))
    for key, value in first.architecture.parameters.items():
        torch.testing.assert_close(second.architecture.parameters[key], value, atol=1e-5, rtol=1e-4)
    x = batch(99)
    second.step(x)
    with torch.no_grad():
        last = first.architecture.gradients(x * first.calibration.scale, Step(STEPS, STEPS, torch.empty(0).long()))
    assert second.curve()[0].mse == pytest.approx(float(last.squared_error) / x.numel(), rel=1e-4)


def test_a_threshold_starts_at_that_of_a_batchtopk_sae(tmp_path: Path) -> None:
    first = trainer_of(config_of("batchtopk"))
    for number in range(STEPS):
        first.step(batch(number))
    first.measure(batch(STEPS, 2000))
    write_sae(tmp_path, "batchtopk", first.export(), {"hook_name": "h"}, first.calibration, {})
    config = config_of("jumprelu", start_from=START)
    second = SaeTrainer(config, first.calibration, STEPS, initial=initial_tensors(LocalFiles(tmp_path), config))
    second.step(batch(STEPS, 2000))
    assert second.curve()[0].l0 == pytest.approx(4, abs=0.2)
    assert second.curve()[0].mse < 1.2 * first.curve()[-1].mse


def test_an_sae_that_does_not_fit_is_named(tmp_path: Path) -> None:
    first = trainer_of(config_of("matchingpursuit"))
    write_sae(tmp_path, "matchingpursuit", first.export(), {"hook_name": "h"}, first.calibration, {})
    wide, other = config_of("topk", d_sae=128, start_from=START), config_of("topk", start_from=START)
    with pytest.raises(ValueError, match=f"{START} has 64 latents, and topk 128 .* 128"):
        initial_tensors(LocalFiles(tmp_path), wide)
    with pytest.raises(ValueError, match=r"start_from of topk 64 .*: that SAE has no W_enc"):
        SaeTrainer(other, first.calibration, STEPS, initial=initial_tensors(LocalFiles(tmp_path), other))


def test_every_architecture_has_the_options_of_all() -> None:
    common = {"start_from", "train_rows", "lr_warmup", "lr_decay", "gradient_clip", "resample_every", "aux_coefficient"}
    assert all(common <= cls.model_fields.keys() for cls in ARCHITECTURES)
