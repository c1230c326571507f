"""One SAE's trainer: its step against autograd, the unit sphere, dead latents, thresholds, resume."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from configs.architectures import BatchTopKConfig, TopKConfig
from sae.calibration import Calibration
from sae.formats.sae_folder import Sae
from sae.training.sae_trainer import SaeTrainer, TrainingDiverged
from sae.training.schedule import learning_rate

D = 16


def _calibration(mean: float = 0.5, scale: float = 0.7) -> Calibration:
    return Calibration("blocks.0.hook_resid_post", 1.0, 9.0, scale, torch.full((D,), mean), 1, 1, 0)


def _trainer(**settings: object) -> SaeTrainer:
    cls = BatchTopKConfig if settings.get("architecture") == "batchtopk" else TopKConfig
    config = cls.model_validate({"hook": "blocks.0.hook_resid_post", "d_sae": 64, "k": 4, **settings})
    return SaeTrainer(config, _calibration(), total_steps=100)


def _batch(seed: int = 0, n: int = 128) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.randn(24, D, generator=torch.Generator().manual_seed(99))
    codes = torch.rand(n, 24, generator=generator) * (torch.rand(n, 24, generator=generator) < 0.1)
    return codes @ atoms + 0.5


def test_one_step_is_adam_on_the_gradient_that_autograd_gives() -> None:
    trainer = _trainer(aux_coefficient=0.0)
    p = {k: v.detach().clone().requires_grad_() for k, v in trainer.architecture.parameters.items()}
    x = _batch() * trainer.calibration.scale
    pre = (x - p["b_dec"]) @ p["W_enc_t"].T + p["b_enc"]
    value, latent = pre.topk(4, dim=1)
    dense = torch.zeros_like(pre).scatter(1, latent, value.relu())
    (dense @ p["W_dec"] + p["b_dec"] - x).square().mean().backward()
    radial = (p["W_dec"].grad * p["W_dec"]).sum(1, keepdim=True)
    p["W_dec"].grad -= (radial * p["W_dec"]).detach()
    torch.optim.Adam(p.values(), lr=learning_rate(trainer.config, 0, 100)).step()
    expected = {k: v.detach() for k, v in p.items()}
    expected["W_dec"] /= expected["W_dec"].norm(dim=1, keepdim=True)

    trainer.step(_batch())
    for name, value in trainer.architecture.parameters.items():
        torch.testing.assert_close(value.detach(), expected[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_training_reduces_the_error_and_keeps_decoder_rows_on_the_sphere(architecture: str) -> None:
    trainer = _trainer(architecture=architecture, lr=5e-3)
    for seed in range(100):
        trainer.step(_batch(seed))
    curve = trainer.curve()
    assert curve[-1].mse < 0.5 * curve[0].mse
    assert curve[-1].l0 <= 4 + 1e-6
    torch.testing.assert_close(trainer.architecture.parameters["W_dec"].detach().norm(dim=1), torch.ones(64))


def test_dead_latents_are_counted_in_tokens_and_revived_by_the_auxiliary_loss() -> None:
    dead, alive = (_trainer(dead_after_tokens=256, aux_coefficient=c, aux_k=16, lr=5e-3) for c in (0.0, 1 / 8))
    for trainer in (dead, alive):
        with torch.no_grad():
            trainer.architecture.parameters["b_enc"][:32] = -1.0
        for seed in range(100):
            trainer.step(_batch(seed))
        curve = trainer.curve()
        assert curve[0].dead == 0
        assert curve[2].dead >= 16
    assert int((alive.tokens_since_active >= 256).sum()) < int((dead.tokens_since_active >= 256).sum())


class _Reads(TorchDispatchMode):
    """Counts the operations whose result's size or value must be known on the CPU: on a GPU each waits for all work before it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        by_mask = func.overloadpacket.__name__ in ("index", "index_put_") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if by_mask or func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero"):
            self.count += 1
        return func(*args, **(kwargs or {}))


def test_a_topk_step_waits_for_the_device_at_most_once_and_only_while_a_latent_is_dead() -> None:
    waits = {}
    for name, limit in (("none is dead", 10**9), ("some are dead", 256)):
        trainer = _trainer(dead_after_tokens=limit)
        with torch.no_grad():
            trainer.architecture.parameters["b_enc"][:32] = -10.0
        for seed in range(4):
            trainer.step(_batch(seed))
        with _Reads() as reads:
            trainer.step(_batch(4))
        waits[name] = reads.count
        assert (trainer.curve()[-1].dead > 0) is (limit == 256)
    assert waits == {"none is dead": 0, "some are dead": 1}


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_a_restored_owner_goes_on_bit_for_bit(architecture: str) -> None:
    trainer = _trainer(architecture=architecture, dead_after_tokens=300)
    for seed in range(5):
        trainer.step(_batch(seed))
    state = copy.deepcopy(trainer.state())
    restored = _trainer(architecture=architecture, dead_after_tokens=300, seed=3)
    restored.load_state(state)
    for seed in range(5, 9):
        trainer.step(_batch(seed))
        restored.step(_batch(seed))
    assert trainer.curve() == restored.curve()
    for (name, a), b in zip(trainer.state().items(), restored.state().values(), strict=True):
        assert torch.equal(a, b), name


def test_autocast_rounds_the_encoder_alone() -> None:
    exact, rounded = (
        SaeTrainer(TopKConfig(hook="h", d_sae=64, k=4, lr=5e-3), _calibration(), 100, autocast=on)
        for on in (False, True)
    )
    for seed in range(100):
        exact.step(_batch(seed))
        rounded.step(_batch(seed))
    assert rounded.curve() != exact.curve()
    assert rounded.curve()[-1].mse == pytest.approx(exact.curve()[-1].mse, rel=0.1)
    assert all(p.dtype == torch.float32 for p in rounded.architecture.parameters.values())


def test_an_empty_batch_moves_only_the_schedule() -> None:
    trainer = _trainer()
    before = {k: v.detach().clone() for k, v in trainer.architecture.parameters.items()}
    trainer.step(torch.empty(0, D))
    (point,) = trainer.curve()
    assert point.tokens == 0
    assert math.isnan(point.mse)
    assert trainer.step_number == 1
    assert all(torch.equal(v, before[k]) for k, v in trainer.architecture.parameters.items())


def test_a_loss_that_is_not_finite_is_named() -> None:
    trainer = _trainer()
    trainer.step(_batch())
    trainer.step(torch.full((4, D), float("inf")))
    with pytest.raises(TrainingDiverged, match=r"topk 64 k=4 at .* is nan at step 1; lower lr"):
        trainer.curve()


def test_schedule_warms_up_and_decays_to_the_end() -> None:
    config = TopKConfig(hook="h", d_sae=8, k=1, lr=1.0, lr_warmup=10, lr_decay="20%")
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:81] == [1.0] * 72
    assert rates[99] == pytest.approx(0.05)


def test_the_threshold_of_batchtopk_gives_the_l0_that_was_wanted() -> None:
    """On the training rows, after a run of 300 steps: an average over all of training is 10 to 25% off."""
    calibration = _calibration()
    config = BatchTopKConfig(hook="h", architecture="batchtopk", d_sae=64, k=4, lr=5e-3)
    trainer = SaeTrainer(config, calibration, total_steps=300)
    for seed in range(300):
        trainer.step(_batch(seed, 512))
    for seed in range(285, 300):
        trainer.measure(_batch(seed, 512))
    tensors, cfg = trainer.export()
    sae = Sae(tensors, {**cfg, "metadata": {"raylens": {"architecture": "batchtopk"}}}, calibration)
    rows = torch.cat([_batch(seed, 512) for seed in range(200, 300)])
    assert len(sae.encode_sparse(rows).latent) / len(rows) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_what_is_exported_computes_on_raw_activations_what_was_trained(architecture: str) -> None:
    trainer = _trainer(architecture=architecture)
    for seed in range(20):
        trainer.step(_batch(seed))
    trainer.measure(_batch(50))
    tensors, cfg = trainer.export()
    sae = Sae(tensors, {**cfg, "metadata": {"raylens": {"architecture": architecture}}}, trainer.calibration)
    x, scale = _batch(50), trainer.calibration.scale
    p = {name: value.detach() for name, value in trainer.architecture.parameters.items()}
    pre = (x * scale - p["b_dec"]) @ p["W_enc_t"].T + p["b_enc"]
    cut = pre.topk(4, dim=1).values[:, -1:] if architecture == "topk" else pre.flatten().topk(4 * len(x)).values[-1]
    latents = torch.where(pre >= cut, pre.relu(), 0)
    torch.testing.assert_close(sae.reconstruct(x), (latents @ p["W_dec"] + p["b_dec"]) / scale, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sae.decode(sae.encode(x)), sae.reconstruct(x), atol=1e-5, rtol=1e-5)
