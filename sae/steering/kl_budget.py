"""The strength of a change that costs a given KL per token."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sae.language_model import LanguageModel
from sae.steering.decoding import Prompt
from sae.steering.errors import SteeringError
from sae.steering.hooks import Scope, steered
from sae.steering.plan import SteeringPlan

_TOLERANCE = 0.03
_ROWS = 6  # doses that are tried in one pass
_SMALLEST, _LARGEST = 2.0**-12, 2.0**12
_ROUNDS = 8


@torch.inference_mode()
def find_dose(
    lm: LanguageModel, plan: SteeringPlan, prompt: Prompt, answer: Sequence[int], budget: float
) -> tuple[float, float]:
    """The dose (a factor of the change) with a mean KL(steered || unsteered) of `budget` nats per token, and that mean.

    Measured on the prompt with `answer`, over the distributions from which the answer's tokens come. Doses between the
    nearest below and the nearest above are tried, several in a pass, until one is within 3% of the budget. Raises
    SteeringError if no dose from 2^-12 to 2^12 reaches the budget.
    """
    measure = _Measure(lm, plan, prompt, answer)
    low, high = (0.0, 0.0), (math.inf, math.inf)  # (dose, KL)
    tried = [_SMALLEST * (_LARGEST / _SMALLEST) ** (i / 12) for i in range(13)]
    for _ in range(_ROUNDS):
        for dose, kl in zip(tried, measure(tried), strict=True):
            if abs(kl - budget) <= _TOLERANCE * budget:
                return dose, kl
            # The smallest dose above the budget, and the largest one below it that is smaller than that.
            if kl > budget and dose < high[0]:
                high = (dose, kl)
            elif kl < budget and low[0] < dose < high[0]:
                low = (dose, kl)
        if math.isinf(high[0]):
            raise SteeringError(
                f"no strength of this change costs {budget:g} nats per token: {_LARGEST:g} times it costs {low[1]:.3g}. Is the "
                "feature active, and are there positions where the change is made?"
            )
        start = max(low[0], _SMALLEST / 64)
        tried = [start * (high[0] / start) ** ((i + 1) / (_ROWS + 1)) for i in range(_ROWS)]
    return min((low, high), key=lambda pair: abs(pair[1] - budget))


class _Measure:
    def __init__(self, lm: LanguageModel, plan: SteeringPlan, prompt: Prompt, answer: Sequence[int]) -> None:
        self._lm, self._plan = lm, plan
        ids = [*prompt.ids, *answer][: lm.context_length]
        self._ids = torch.tensor([ids])
        self._positions = torch.arange(len(ids))
        self._special = torch.tensor([i < len(prompt.ids) and prompt.special[i] for i in range(len(ids))])
        self._answer_from = len(prompt.ids)
        # The last token of the prompt and all but the last one of the answer: where the answer's tokens were chosen.
        self._read = slice(len(prompt.ids) - 1, max(len(prompt.ids), len(ids) - 1))
        self._plain = self._log_probabilities([0.0])[0]

    def __call__(self, doses: Sequence[float]) -> list[float]:
        found = []
        for first in range(0, len(doses), _ROWS):
            for log in self._log_probabilities(doses[first : first + _ROWS]):
                kl = (log.exp() * (log - self._plain)).sum(-1).mean()
                found.append(float(kl) if bool(torch.isfinite(kl)) else math.inf)
        return found

    def _log_probabilities(self, doses: Sequence[float]) -> Tensor:
        scope = Scope(self._positions, self._special, self._answer_from, torch.tensor(list(doses)))
        ids = self._ids.repeat(len(doses), 1).to(self._lm.device)
        with steered(self._lm, self._plan, scope):
            logits: Tensor = self._lm._model(input_ids=ids, use_cache=False).logits[:, self._read]
        return logits.float().log_softmax(dim=-1)
