"""Steering on a real small model: identities of each operation, which positions are changed, and what cannot be done."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from configs.steering import Intervention
from sae.formats.sae_folder import Sae
from sae.language_model import LanguageModel
from sae.steering.errors import SteeringError
from sae.steering.hooks import Changes, Scope, steered
from sae.steering.operations import OPERATIONS, Site
from sae.steering.plan import make_plan
from tests.sae.steering_world import EARLY, HOOKS, IDS, LATE, PROMPT, WIDTH, activations, intervention, lm, saes

__all__ = ["lm", "saes"]


def logits_of(
    lm: LanguageModel, saes: dict[str, Sae], dose: float, *interventions: Intervention, rows: int = 1
) -> Tensor:
    plan = make_plan(lm, saes, interventions, {(EARLY, 3): 2.0})
    scope = Scope(torch.arange(12), torch.tensor(PROMPT.special), 8, torch.full((rows,), dose))
    with torch.inference_mode(), steered(lm, plan, scope):
        found: Tensor = lm._model(input_ids=IDS.repeat(rows, 1), use_cache=False).logits
    return found


@pytest.mark.parametrize("fields", [{"value": 0.0}, {"value": 0.0, "unit": "max"}, {"value": 0.0, "unit": "norm"}])
def test_strength_0_changes_no_bit(lm: LanguageModel, saes: dict[str, Sae], fields: dict[str, Any]) -> None:
    assert torch.equal(logits_of(lm, saes, 1.0, intervention(**fields)), lm.logits(IDS))
    assert torch.equal(logits_of(lm, saes, 0.0, intervention(value=50.0)), lm.logits(IDS))


def test_ablating_a_silent_feature_changes_no_bit(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    acts = activations(lm, saes[EARLY])
    silent = int((acts.sum(0) == 0).nonzero()[0, 0])
    loud = int(acts[1:].sum(0).argmax())
    assert torch.equal(logits_of(lm, saes, 1.0, intervention("ablate", silent)), lm.logits(IDS))
    assert not torch.equal(logits_of(lm, saes, 1.0, intervention("ablate", loud)), lm.logits(IDS))


def test_clamping_to_the_present_value_changes_nothing(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    acts = activations(lm, saes[EARLY])
    latent = int(acts[5].argmax())
    clamp = intervention("clamp", latent, value=float(acts[5, latent]), from_position=5)
    only_there = clamp.model_copy(update={"when": None})
    plan = make_plan(lm, saes, [only_there], {})
    scope = Scope(torch.arange(6), torch.zeros(6, dtype=torch.bool), 6, torch.ones(1))
    with torch.inference_mode(), steered(lm, plan, scope):
        found = lm._model(input_ids=IDS[:, :6], use_cache=False).logits
    torch.testing.assert_close(found, lm.logits(IDS[:, :6]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("sae", [EARLY, LATE])
def test_scale_0_is_ablation_and_scale_1_nothing(lm: LanguageModel, saes: dict[str, Sae], sae: str) -> None:
    latent = int(activations(lm, saes[sae])[1:].sum(0).argmax())
    ablated = logits_of(lm, saes, 1.0, intervention("ablate", latent, sae))
    assert torch.equal(logits_of(lm, saes, 1.0, intervention("scale", latent, sae, value=0.0)), ablated)
    assert torch.equal(logits_of(lm, saes, 1.0, intervention("scale", latent, sae, value=1.0)), lm.logits(IDS))
    assert torch.equal(logits_of(lm, saes, 1.0, intervention("clamp", latent, sae, value=0.0)), ablated)


def test_each_operation_gives_the_value_it_says(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    sae = saes[EARLY]
    hook = lm.hook(HOOKS[EARLY])
    x = lm.run_to(IDS, [hook])[hook.name][0]
    direction, acts = sae.W_dec[3], activations(lm, sae)[:, 3]
    along = x @ direction
    expected = {
        ("add", "raw"): 1.5 + 0 * acts,
        ("add", "max"): 1.5 * 2.0 + 0 * acts,
        ("add", "norm"): 1.5 * x.norm(dim=1),
        ("clamp", "raw"): 1.5 - acts,
        ("scale", "raw"): 0.5 * acts,
        ("project", "raw"): 1.5 - along,
        ("project_and_cap", "raw"): (1.5 - along).clamp(max=0),
    }
    for (op, unit), amount in expected.items():
        found: list[Tensor] = []
        plan = make_plan(lm, saes, [intervention(op, value=1.5, unit=unit, special_tokens=True)], {(EARLY, 3): 2.0})
        scope = Scope(torch.arange(12), torch.tensor(PROMPT.special), 12, torch.ones(1))
        with torch.inference_mode(), steered(lm, plan, scope), lm._reading([(lm._tap(hook, IDS.shape), found.append)]):
            lm._model(input_ids=IDS, use_cache=False)
        torch.testing.assert_close(found[0][0], x + amount[:, None] * direction, atol=1e-5, rtol=1e-5)


def test_rows_side_by_side_are_rows_alone(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    change = intervention(value=3.0)
    together = logits_of(lm, saes, 1.0, change, rows=3)
    for row in together:
        torch.testing.assert_close(row[None], logits_of(lm, saes, 1.0, change), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ({"special_tokens": True}, list(range(12))),
        ({"where": "prompt"}, [1, 2, 3, 4, 5, 6, 7]),
        ({"where": "answer"}, [8, 9, 10, 11]),
        ({"from_position": 5}, [5, 6, 7, 8, 9, 10, 11]),
        ({"where": "prompt", "from_position": 6}, [6, 7]),
    ],
)
def test_the_positions_asked_for_are_changed_and_no_others(
    lm: LanguageModel, saes: dict[str, Sae], fields: dict[str, Any], changed: list[int]
) -> None:
    plan = make_plan(lm, saes, [intervention(value=3.0, **fields)], {})
    scope = Scope(torch.arange(12), torch.tensor(PROMPT.special), 8, torch.tensor([1.0, 0.0]))
    counted, found = Changes(2), []
    hook = lm.hook(HOOKS[EARLY])
    tap = lm._tap(hook, torch.Size((2, 12)))
    with torch.inference_mode(), steered(lm, plan, scope, counted), lm._reading([(tap, found.append)]):
        lm._model(input_ids=IDS.repeat(2, 1), use_cache=False)
    x = lm.run_to(IDS.repeat(2, 1), [hook])[hook.name]
    assert (found[0] != x).any(-1)[0].nonzero()[:, 0].tolist() == changed
    assert counted.positions.tolist() == [len(changed), 0]
    expected = torch.tensor([3.0 / float(x[0, p].norm()) for p in changed]).mean()
    assert counted.mean_relative(0) == pytest.approx(float(expected), rel=1e-5)


def test_a_condition_is_looked_at_where_the_change_is_made(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    acts = activations(lm, saes[EARLY])[1:]
    latent = int(((acts > 0).sum(0) * ((acts > 0).sum(0) < 11)).argmax())
    when = {"sae": EARLY, "latent": latent, "above": 0.0}
    plan = make_plan(lm, saes, [intervention(value=2.0, sae=LATE, when=when)], {})
    scope = Scope(torch.arange(12), torch.tensor(PROMPT.special), 12, torch.ones(1))
    counted = Changes(1)
    with torch.inference_mode(), steered(lm, plan, scope, counted):
        lm._model(input_ids=IDS, use_cache=False)
    assert counted.positions.tolist() == [int((acts[:, latent] > 0).sum())]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latent": WIDTH, "value": 1.0}, "there is no latent 64 in .*: they are 0 to 63"),
        ({"latent": 5, "value": 1.0, "unit": "max"}, "largest activation of latent 5 .* is not known: extract"),
        (
            {"value": 1.0, "when": {"sae": LATE, "latent": 0}},
            "depends on activations at blocks.1.hook_mlp_out, .* later",
        ),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_runs(
    lm: LanguageModel, saes: dict[str, Sae], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(SteeringError, match=message):
        make_plan(lm, saes, [intervention(**fields)], {})


def test_an_sae_that_scales_each_input_does_not_steer(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    plain = saes[EARLY]
    other = Sae(plain.tensors, {**plain.config, "normalize_activations": "layer_norm"}, plain.calibration)
    with pytest.raises(SteeringError, match="scales each activation"):
        make_plan(lm, {EARLY: other}, [intervention(value=1.0)], {})


def test_a_projection_does_not_depend_on_the_length_of_the_direction() -> None:
    x, direction = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), torch.arange(1.0, 9.0)
    for scale in (1.0, 3.0):
        site = Site(x, torch.zeros(4), scale * direction, torch.full((4,), 1.5))
        changed = x + OPERATIONS["project"](site)[:, None] * site.direction
        along = changed @ site.direction / site.direction.square().sum()
        torch.testing.assert_close(along, torch.full((4,), 1.5))
