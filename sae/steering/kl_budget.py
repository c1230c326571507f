"""The strength of a change that costs a given KL per token."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from sae.language_model import LanguageModel
from sae.steering.decoding import Decoder, Prompt
from sae.steering.errors import SteeringError
from sae.steering.plan import SteeringPlan

_TOLERANCE, _ACCEPTED = 0.03, 0.1  # of the budget: what ends the search, and what is taken after its last round
_ROWS, _POSITIONS = 6, 4096  # doses that are tried side by side, and positions of all of them
_SMALLEST, _LARGEST = 2.0**-12, 2.0**12
_ROUNDS = 8


def find_dose(
    lm: LanguageModel, plan: SteeringPlan, prompt: Prompt, answer: Sequence[int], budget: float
) -> tuple[float, float]:
    """The dose (a factor of the change) with a mean KL(steered || unsteered) of `budget` nats per token, and that mean.

    Measured on the prompt with `answer`, over the distributions from which the answer's tokens come. Doses between the
    nearest below and the nearest above are tried, several in a pass, until one is within 3% of the budget. Raises
    SteeringError if no dose up to 2^12 reaches the budget, or if KL jumps past it (as with a condition).
    """
    search = dose_search(lm, plan, prompt, answer, budget)
    while True:
        try:
            next(search)
        except StopIteration as end:
            found: tuple[float, float] = end.value
            return found


def dose_search(
    lm: LanguageModel, plan: SteeringPlan, prompt: Prompt, answer: Sequence[int], budget: float
) -> Generator[None, None, tuple[float, float]]:
    """As find_dose, whose result it returns, in steps of one pass of the model, so that others can use the model between."""
    measure = _Measure(lm, plan, prompt, answer)
    yield from measure.start()
    low, high = (0.0, 0.0), (math.inf, math.inf)  # (dose, KL)
    tried = [_SMALLEST * (_LARGEST / _SMALLEST) ** (i / 12) for i in range(13)]
    for _ in range(_ROUNDS):
        for first in range(0, len(tried), measure.rows):
            doses = tried[first : first + measure.rows]
            found = yield from measure.means(doses)
            for dose, kl in zip(doses, found, strict=True):
                if abs(kl - budget) <= _TOLERANCE * budget:
                    return dose, kl
                # The smallest dose above the budget, and the largest one below it that is smaller than that.
                if kl > budget and dose < high[0]:
                    high = (dose, kl)
                elif kl < budget and low[0] < dose < high[0]:
                    low = (dose, kl)
            yield
        if math.isinf(high[0]):
            raise SteeringError(
                f"no strength of this change costs {budget:g} nats per token: {_LARGEST:g} times it costs {low[1]:.3g}. Is the "
                "feature active, and are there positions where the change is made?"
            )
        start = low[0] or high[0] * _SMALLEST
        tried = [start * (high[0] / start) ** (i / (_ROWS + 1)) for i in range(0 if low[0] == 0 else 1, _ROWS + 1)]
    dose, kl = min((low, high), key=lambda pair: abs(pair[1] - budget))
    if abs(kl - budget) > _ACCEPTED * budget:
        raise SteeringError(
            f"no strength of this change costs {budget:g} nats per token: {low[0]:.4g} times it costs {low[1]:.3g} and "
            f"{high[0]:.4g} times it {high[1]:.3g}. Choose a budget that is not between the two, or a dose"
        )
    return dose, kl


class _Measure:
    """KL of doses on one answer. Its generators give way after each pass of the model but the last."""

    def __init__(self, lm: LanguageModel, plan: SteeringPlan, prompt: Prompt, answer: Sequence[int]) -> None:
        self._lm, self._plan, self._prompt = lm, plan, prompt
        self._answer = list(answer)[: lm.context_length - len(prompt.ids)]
        # The last token of the prompt and all but the last one of the answer: where the answer's tokens were chosen.
        self._last = len(self._answer) + 1
        self._read = max(1, self._last - 1)
        self.rows = max(1, min(_ROWS, _POSITIONS // (len(prompt.ids) + len(self._answer))))
        self._plain = torch.zeros(0)

    def start(self) -> Generator[None, None, None]:
        """Reads the answer without a change."""
        self._plain = (yield from self._log_probabilities([0.0]))[0]

    def means(self, doses: Sequence[float]) -> Generator[None, None, list[float]]:
        """Mean KL of each of at most `rows` doses; infinite where the model's output is not finite."""
        found = yield from self._log_probabilities(doses)
        means = [(log.exp() * (log - self._plain)).sum(-1).mean() for log in found]
        return [float(kl) if bool(torch.isfinite(kl)) else math.inf for kl in means]

    def _log_probabilities(self, doses: Sequence[float]) -> Generator[None, None, Tensor]:
        for logits in Decoder(self._lm, self._plan, self._prompt, doses, self._answer).read(self._last):
            if logits is None:
                yield
        assert logits is not None
        return logits[:, : self._read].float().log_softmax(dim=-1)
