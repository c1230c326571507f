"""The strength of a change that costs a given KL per token, on a real small model."""

from __future__ import annotations

import pytest
import torch

from sae.formats.sae_folder import Sae
from sae.language_model import LanguageModel
from sae.steering.errors import SteeringError
from sae.steering.hooks import Scope, steered
from sae.steering.kl_budget import find_dose
from sae.steering.plan import make_plan
from tests.sae.steering_world import EARLY, HOOKS, IDS, LATE, PROMPT, activations, intervention, lm, saes

__all__ = ["lm", "saes"]


@pytest.mark.parametrize(("budget", "value", "unit"), [(0.01, 1.0, "raw"), (0.3, 1.0, "raw"), (0.05, 1e6, "norm")])
def test_a_budget_of_kl_is_hit(lm: LanguageModel, saes: dict[str, Sae], budget: float, value: float, unit: str) -> None:
    plan = make_plan(lm, saes, [intervention(value=value, unit=unit)], {})
    answer = [9, 31, 77, 12]
    dose, kl = find_dose(lm, plan, PROMPT, answer, budget)
    assert kl == pytest.approx(budget, rel=0.1)
    ids = torch.tensor([[*PROMPT.ids, *answer]])
    scope = Scope(torch.arange(16), torch.tensor([True, *([False] * 15)]), 12, torch.tensor([dose]))
    with torch.inference_mode(), steered(lm, plan, scope):
        strong = lm._model(input_ids=ids, use_cache=False).logits[0, 11:-1].log_softmax(-1)
    plain = lm.logits(ids)[0, 11:-1].log_softmax(-1)
    assert float((strong.exp() * (strong - plain)).sum(-1).mean()) == pytest.approx(kl, rel=1e-3)


def test_a_budget_that_no_strength_reaches_is_refused(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    silent = int((activations(lm, saes[EARLY]).sum(0) == 0).nonzero()[0, 0])
    plan = make_plan(lm, saes, [intervention("ablate", silent)], {})
    with pytest.raises(SteeringError, match=r"no strength of this change costs 0\.5 nats"):
        find_dose(lm, plan, PROMPT, [9, 31], 0.5)


def test_a_budget_that_kl_jumps_over_is_refused(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    """A weak change makes a feature behind it active enough for a very strong one: KL is far below the budget or far above."""
    push, hook, pushed = intervention(value=-0.5), lm.hook(HOOKS[LATE]), []
    scope = Scope(torch.arange(12), torch.tensor(PROMPT.special), 12, torch.ones(1))
    with torch.inference_mode(), steered(lm, make_plan(lm, saes, [push], {}), scope):
        tap = lm._tap(hook, IDS.shape).read(pushed.append)
        lm._model(input_ids=IDS, use_cache=False)
        tap.remove()
    before, after = activations(lm, saes[LATE])[-1], saes[LATE].encode(pushed[0][0])[-1]  # where the answer is chosen
    latent = int((after - before).argmax())
    when = {"sae": LATE, "latent": latent, "above": float(before[latent] + after[latent]) / 2}
    strong = intervention(value=1e6, sae=LATE, when=when)
    with pytest.raises(SteeringError, match=r"no strength of this change costs 0\.5 nats .* and .* times it"):
        find_dose(lm, make_plan(lm, saes, [push, strong], {}), PROMPT, [9], 0.5)
