"""A model's answer to a prompt without a change and with it, side by side, and what the change did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from configs.steering import Sampling
from sae.language_model import LanguageModel
from sae.steering.decoding import Decoder, Prompt
from sae.steering.errors import SteeringError
from sae.steering.plan import SteeringPlan
from sae.steering.sampling import Sampler

_GRAM = 3


class Token(NamedTuple):
    """The next token of answer `number`: 0 is the one without a change, whose dose is 0 and `kl` None."""

    number: int
    dose: float
    id: int
    kl: float | None


class Answer(NamedTuple):
    """One answer. Without a change (`dose` 0) the last three figures are 0.

    `perplexity`: of its tokens, by the unsteered model; None without any, as `kl`. `repetition`: the share of its groups of
    three tokens that came before in it. `kl`: mean over its tokens of KL(steered || unsteered) of the distributions they were
    chosen from, in nats. `change`: mean of |change| / |activation| over the changed positions, `positions` of them, of prompt
    and answer. `problem`: why the answer breaks off, if the model's output with this change was not finite; figures are of what
    is before.
    """

    dose: float
    ids: list[int]
    ended: bool
    perplexity: float | None
    repetition: float
    kl: float | None
    change: float
    positions: int
    problem: str | None = None


class _Text:
    """One answer as it grows: `row` makes it, `shadow` reads the same tokens unsteered."""

    def __init__(self, dose: float, row: int, shadow: int) -> None:
        self.dose, self.row, self.shadow = dose, row, shadow
        self.ids: list[int] = []
        self.kl: list[float] = []
        self.surprise: list[float] = []
        self.ended = False
        self.problem: str | None = None

    @property
    def over(self) -> bool:
        """Whether no further token comes."""
        return self.ended or self.problem is not None


class Generation:
    """Answers without a change and with each of `doses` times it, on one pass of the model for each token.

    Iterating gives tokens as they are chosen, the rows of a step one after the other, and None after each pass of the model that
    gives none yet (over a long prompt); `answers()` is whole after that. A dose whose output is not finite ends alone.
    `ends` says of the tokens of an answer whether they end it. `stopped` is asked before each pass. Raises SteeringError where
    the output is not finite without a change, or with every dose.
    """

    def __init__(
        self,
        lm: LanguageModel,
        plan: SteeringPlan,
        prompt: Prompt,
        sampling: Sampling,
        ends: Callable[[Sequence[int]], bool],
        doses: Sequence[float] = (1.0,),
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        lm.check_context(len(prompt.ids) + 1)
        self._room = min(sampling.max_tokens, lm.context_length - len(prompt.ids))
        self._ends, self._stopped, self._sampler = ends, stopped, Sampler(sampling)
        # The unsteered answer, and for each dose a row that is steered and one that reads its tokens unsteered.
        self._texts = [_Text(0.0, 0, 0), *(_Text(dose, 1 + 2 * i, 2 + 2 * i) for i, dose in enumerate(doses))]
        rows = {row: text.ids for text in self._texts for row in (text.row, text.shadow)}
        self._ids_by_row = [rows[row] for row in range(len(rows))]  # they grow
        self._decoder = Decoder(lm, plan, prompt, [0.0, *(d for dose in doses for d in (dose, 0.0))])

    def __iter__(self) -> Iterator[Token | None]:
        for _ in range(self._room):
            if all(text.over for text in self._texts):
                return
            if self._stopped():
                return
            for read in self._decoder.read():
                if read is not None:
                    yield from self._step(read[:, -1].float().cpu())
                elif self._stopped():
                    return
                else:
                    yield None

    def answers(self) -> list[Answer]:
        """Without a change, then with each dose."""
        return [self._answer(text) for text in self._texts]

    def _step(self, logits: Tensor) -> Iterator[Token]:
        """The next token of each answer, from logits [B, V]."""
        broken = ~torch.isfinite(logits).all(1)
        self._check(broken)
        logits[broken] = 0.0
        log = logits.log_softmax(dim=-1)
        chosen = self._sampler.choose(logits, self._ids_by_row)
        following = [0] * len(chosen)
        for number, text in enumerate(self._texts):
            token = chosen[text.row]
            following[text.row] = following[text.shadow] = token
            if text.over:
                continue
            if text.row != text.shadow:
                text.kl.append(float((log[text.row].exp() * (log[text.row] - log[text.shadow])).sum().clamp(min=0)))
            text.surprise.append(-float(log[text.shadow, token]))
            text.ids.append(token)
            text.ended = self._ends(text.ids)
            if text.ended:
                self._decoder.end(text.row)
            yield Token(number, text.dose, token, text.kl[-1] if text.kl else None)
        self._decoder.append(following)

    def _check(self, broken: Tensor) -> None:
        """Ends the answers of rows that are `broken` [B]: their output is not finite. Raises SteeringError if none is left."""
        said = f"the model's output is not finite after {self._decoder.tokens.shape[1]} tokens"
        for text in self._texts:
            if text.over or not bool(broken[[text.row, text.shadow]].any()):
                continue
            if text.dose == 0 or bool(broken[text.shadow]):
                raise SteeringError(f"{said}, without any change: use a wider dtype")
            text.problem = f"{said}: the change is too strong, use a smaller value"
            self._decoder.end(text.row)
        problems = [text.problem for text in self._texts[1:]]
        if problems and None not in problems:
            raise SteeringError(str(problems[0]))

    def _answer(self, text: _Text) -> Answer:
        n = len(text.ids)
        kl = 0.0 if text.row == text.shadow else (sum(text.kl) / n if n else None)
        changes = self._decoder.changes
        return Answer(
            dose=text.dose,
            ids=text.ids,
            ended=text.ended,
            perplexity=math.exp(min(sum(text.surprise) / n, 700.0)) if n else None,
            repetition=repetition(text.ids),
            kl=kl,
            change=changes.mean_relative(text.row),
            positions=int(changes.positions[text.row]),
            problem=text.problem,
        )


def repetition(ids: Sequence[int]) -> float:
    """The share of groups of three tokens that came before; 0 for fewer than two groups."""
    groups = [tuple(ids[i : i + _GRAM]) for i in range(len(ids) - _GRAM + 1)]
    return 1 - len(set(groups)) / len(groups) if groups else 0.0
