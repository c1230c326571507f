"""The step of each architecture against autograd on a dense copy of its loss, in float64, over shapes and settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from configs.architectures import ARCHITECTURES, SaeConfig
from sae.architectures import Step, make_architecture
from sae.architectures.matchingpursuit import pursue
from sae.calibration import Calibration
from tests.sae import dense_reference

TARGET = {"target_hook": "blocks.0.hook_resid_post"}
OWN: dict[str, list[dict[str, Any]]] = {
    "topk": [{}, {"decoder_norm": "free"}, {**TARGET, "skip_connection": True}],
    "hierarchicaltopk": [{}, TARGET],
    "gated": [{}, {**TARGET, "skip_connection": True}],
    "standard": [{}, {"decoder_norm": "free"}],
    "jumprelu": [
        {"target": 3.0}, {"sparsity_loss": "step", **TARGET, "decoder_norm": "free", "skip_connection": True},
        {"sparsity_loss": "tanh", "straight_through": "all"},
        {"sparsity_loss": "quadratic", "target": 5.0, "straight_through": "all", "decoder_norm": "free"},
    ],
    "matchingpursuit": [{}, {"residual_threshold": 0.5}],
}  # fmt: skip
CASES = [
    (cls, own)
    for cls in ARCHITECTURES
    for own in OWN.get(cls.model_fields["architecture"].annotation.__args__[0], [{}])
]


def _config(cls: type[SaeConfig], own: dict[str, Any], d_sae: int, k: int) -> Any:
    (name,) = cls.model_fields["architecture"].annotation.__args__
    body: dict[str, Any] = {"architecture": name, "hook": "blocks.0.hook_mlp_out", "d_sae": d_sae, "aux_k": 3, **own}
    if "k" in cls.model_fields:
        body["k"] = min(k, d_sae)
    return cls.model_validate(body)


@pytest.mark.parametrize(("cls", "own"), CASES, ids=lambda v: v.__name__ if isinstance(v, type) else str(v))
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 24),
    d=st.integers(2, 12),
    d_sae=st.integers(6, 60),
    k=st.integers(1, 6),
    dead=st.sampled_from([0.0, 0.3, 1.0]),
    number=st.integers(0, 30),
    shift=st.sampled_from([-9.0, -2.0, -0.5, 0.5]),
)
@settings(max_examples=20, deadline=None)
def test_gradients_are_those_of_autograd(
    cls: type[SaeConfig], own: dict[str, Any], seed: int, n: int, d: int, d_sae: int, k: int, dead: float, number: int,
    shift: float,
) -> None:  # fmt: skip
    config = _config(cls, own, d_sae, k)
    generator = torch.Generator().manual_seed(seed)
    calibrations = [
        Calibration(hook, 1.0, 9.0, 1.0, torch.randn(d + 2 * i, generator=generator), 1, 1, 0)
        for i, hook in enumerate(config.all_hooks())
    ]
    sae: Any = make_architecture(config, calibrations, "cpu", False)
    mean = calibrations[0].mean.double() if len(calibrations) > 1 else None
    for name, tensor in sae.parameters.items():
        moved = tensor.detach().double() + 0.2 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if name in ("b_enc", "b_gate"):
            moved += shift
        sae.parameters[name] = moved.abs() if name == "threshold" else moved
    sae.after_step()
    x = torch.randn(n, sum(len(one.mean) for one in calibrations), generator=generator, dtype=torch.float64) * 2
    chosen = (torch.rand(d_sae, generator=generator) < dead).nonzero()[:, 0]
    step = Step(number, 100, chosen)
    rise = min(1.0, (number + 1) / 5)  # sparsity_warmup is 5%

    if config.architecture == "matchingpursuit":
        # Whether a row whose product with the residual is 0 but for rounding is active, autograd's copy finds otherwise: such
        # products are those of the row that was chosen last, and of all rows when nothing is left over.
        rounds = pursue(x - sae.parameters["b_dec"], sae.parameters["W_dec"], config.k, 0, False)
        assume(bool(((rounds.residual[:-1] @ sae.parameters["W_dec"].T).amax(2).abs() > 1e-9).all()))
        step = step._replace(dead=chosen[~torch.isin(chosen, rounds.latent)])
    with torch.no_grad():
        done = sae.gradients(x, step)
    expected, active = dense_reference.gradients(config, sae.parameters, x, rise, step.dead, mean)
    assert set(done.gradients) == set(sae.parameters)
    for name, gradient in expected.items():
        error = (done.gradients[name] - gradient).norm()
        assert error <= 1e-5 * max(float(gradient.norm()), 1e-6), (name, float(error), float(gradient.norm()))
    positions = done.codes.position[done.codes.value > 0]
    assert torch.equal(torch.bincount(positions, minlength=n), active)
