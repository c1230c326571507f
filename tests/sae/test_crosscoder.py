"""Crosscoders: their loss hook by hook, what is written of them, and what one starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from configs.architectures import BatchTopKConfig, StandardConfig, TopKConfig
from sae.architectures import Step, make_architecture
from sae.calibration import Calibration
from sae.formats.artifact_files import LocalFiles
from sae.joint_hooks import joint_calibration
from sae.metrics.weights import measure_weights
from sae.training.initial_weights import initial_tensors
from sae.training.sae_trainer import SaeTrainer
from tests.sae.crosscoder_world import HOOKS, KINDS, SCALES, STEPS, WIDTHS, batch, trainer, written


@pytest.mark.parametrize(
    ("cls", "own"),
    [
        (TopKConfig, {}),
        (BatchTopKConfig, {}),
        (StandardConfig, {"l1": 0.7}),
        (StandardConfig, {"l1": 0.7, "decoder_norm": "free"}),
        (StandardConfig, {"l1": 0.7, "hook_norms": "joint"}),
    ],
)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 20),
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    k=st.integers(1, 5),
)
@settings(max_examples=20, deadline=None)
def test_gradients_are_those_of_the_loss_summed_over_hooks(
    cls: type[Any], own: dict[str, Any], seed: int, n: int, widths: list[int], k: int
) -> None:
    """The formula as papers write it: an encoder, a decoder and a bias for each hook, and one set of latents."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    (name,) = cls.model_fields["architecture"].annotation.__args__
    hooks = [f"blocks.{number}.hook_mlp_out" for number in range(len(widths))]
    more = {"k": k} if "k" in cls.model_fields else own
    config = cls.model_validate({"architecture": name, "hooks": hooks, "d_sae": 12, **more})
    parts = [
        Calibration(hook, 1.0, 9.0, 2.0, normal(d).float(), 1, 1, 0) for hook, d in zip(hooks, widths, strict=True)
    ]
    sae: Any = make_architecture(config, [joint_calibration(parts), *parts], "cpu", False)
    sae.parameters = {
        key: value.detach().double() + 0.2 * normal(*value.shape) for key, value in sae.parameters.items()
    }
    sae.after_step()
    x = 2 * normal(n, sum(widths))
    with torch.no_grad():
        done = sae.gradients(x, Step(99, 100, torch.empty(0, dtype=torch.int64)))

    p = {key: value.clone().requires_grad_() for key, value in sae.parameters.items()}
    enc, dec, bias = p["W_enc_t"].split(widths, 1), p["W_dec"].split(widths, 1), p["b_dec"].split(widths)
    xs = x.split(widths, 1)
    pre = sum((one - b) @ w.T for one, b, w in zip(xs, bias, enc, strict=True)) + p["b_enc"]
    z, penalty = pre.relu(), x.new_zeros(())
    if cls is StandardConfig:
        norms = p["W_dec"].norm(dim=1) if "hook_norms" in own else sum(w.norm(dim=1) for w in dec)
        penalty = own["l1"] * (z * norms).sum()
    else:
        flat = pre if name == "topk" else pre.reshape(1, -1)
        index = flat.topk(k if name == "topk" else k * n, dim=1).indices
        z = z * torch.zeros_like(flat).scatter_(1, index, 1.0).view_as(pre)
    errors = [(z @ w + b - one).square().sum() for one, b, w in zip(xs, bias, dec, strict=True)]
    ((sum(errors) + penalty) / x.numel()).backward()
    expected = {key: value.grad for key, value in p.items()}
    if not config.free_decoder:
        along = (expected["W_dec"] * sae.parameters["W_dec"]).sum(1, keepdim=True)
        expected["W_dec"] = expected["W_dec"] - along * sae.parameters["W_dec"]
    for key, gradient in expected.items():
        error = (done.gradients[key] - gradient).norm()
        assert error <= 1e-5 * max(float(gradient.norm()), 1e-6), (key, float(error))
    assert float(done.squared_error) == pytest.approx(sum(float(one.detach()) for one in errors), rel=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_computes_what_was_trained(name: str, tmp_path: Path) -> None:
    one = trainer(name)
    for number in range(STEPS):
        one.step(batch(number))
    one.measure(batch(STEPS, 512))
    curve = one.curve()
    assert curve[-1].mse < 0.7 * curve[0].mse
    sae = written(one, tmp_path)
    assert (sae.is_crosscoder, sae.is_transcoder, sae.hooks) == (True, False, tuple(HOOKS))
    assert (sae.widths, sae.config["d_in"]) == (list(WIDTHS), sum(WIDTHS))
    assert [round(own.scale, 6) for own in sae.calibrations] == list(SCALES)
    torch.testing.assert_close(sae.directions.norm(dim=1), torch.ones(48))
    found = measure_weights(sae)
    assert len(found.encoder_decoder) == len(found.decoder_overlap) == 48

    x, scales = batch(STEPS, 512), torch.cat([torch.full((d,), s) for d, s in zip(WIDTHS, SCALES, strict=True)])
    error = float(((sae.reconstruct(x) - x) * scales).double().square().sum())
    with torch.no_grad():
        last = one.architecture.gradients(x * scales, Step(STEPS, STEPS, torch.empty(0, dtype=torch.int64)))
    assert error == pytest.approx(float(last.squared_error), rel=0.15 if name in ("batchtopk", "matryoshka") else 1e-4)


def test_one_starts_from_another_of_the_same_hooks(tmp_path: Path) -> None:
    first = trainer("topk")
    for number in range(STEPS):
        first.step(batch(number))
    written(first, tmp_path)
    ref = "saes/" + "1" * 16
    again = trainer("topk", start_from=ref)
    tensors = initial_tensors(LocalFiles(tmp_path), again.config)
    again = SaeTrainer(again.config, again.calibration, STEPS, others=again.others, initial=tensors)
    for name, parameter in first.architecture.parameters.items():
        torch.testing.assert_close(again.architecture.parameters[name], parameter, atol=1e-5, rtol=1e-4)
    for place in ({"hooks": HOOKS[:2]}, {"hook": HOOKS[0]}):
        other = TopKConfig.model_validate({**place, "d_sae": 48, "start_from": ref})
        with pytest.raises(ValueError, match=r"reads blocks.0.hook_mlp_out, .* cannot start from it"):
            initial_tensors(LocalFiles(tmp_path), other)


def test_many_hooks_have_a_short_name() -> None:
    many = [f"blocks.{number}.hook_resid_post" for number in range(40)]
    config = TopKConfig.model_validate({"hooks": many, "d_sae": 48, "k": 4})
    assert config.label == "topk 48 k=4 at blocks.0.hook_resid_post + 39 more"


def test_an_sae_of_one_hook_has_the_config_that_it_had() -> None:
    """Ids of SAEs are hashes of their configs: a new option is in none of those that do not have it."""
    config = TopKConfig.model_validate({"hook": HOOKS[0], "d_sae": 48, "k": 4})
    assert "hooks" not in config.model_dump(mode="json")
    crosscoder = TopKConfig.model_validate({"hooks": HOOKS, "d_sae": 48, "k": 4})
    assert "hook" not in crosscoder.model_dump(mode="json")
    assert TopKConfig.model_validate(crosscoder.model_dump(mode="json")) == crosscoder
