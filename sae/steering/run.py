"""One request to steer, from its text to answers: tokens as they come, then all that was measured."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from configs.steering import SteeringRequest
from sae.formats.sae_folder import Sae
from sae.language_model import LanguageModel
from sae.report.token_text import TokenText
from sae.steering.errors import SteeringError
from sae.steering.generation import Answer, Generation
from sae.steering.kl_budget import dose_search
from sae.steering.plan import make_plan
from sae.steering.prompt import end_of_answer, found_stop, make_prompt


class Steerable(NamedTuple):
    """What a request runs on. `saes` by id; `maxima`: the largest activation of (sae, latent); `bos` as in tokenize configs."""

    lm: LanguageModel
    tokenizer: Any
    pieces: TokenText
    saes: Mapping[str, Sae]
    maxima: Mapping[tuple[str, int], float]
    bos: str = "tokenizer"


class NewToken(NamedTuple):
    """A token of answer `number` (0: the unsteered one), as soon as it is chosen, and the text that it adds to it.

    The text lags behind where a character is not whole, or what may become a text of `stop`.
    """

    number: int

    dose: float
    id: int
    text: str
    kl: float | None


class AnswerText(NamedTuple):
    """One answer; `measured` is what sae.steering.generation says of it."""

    text: str
    tokens: list[str]
    measured: Answer


class Steered(NamedTuple):
    """All answers: the unsteered one, then one for each dose. `budget`: the dose that was chosen, and its KL per token."""

    prompt: list[str]
    unsteered: AnswerText
    steered: list[AnswerText]
    budget: tuple[float, float] | None


def run(
    on: Steerable,
    request: SteeringRequest,
    stopped: Callable[[], bool] = lambda: False,
    most_positions: int | None = None,
) -> Iterator[NewToken | Steered | None]:
    """Tokens of all answers as they are chosen, and at last the answers. Ends early, with what there is, if `stopped`.

    None after each pass of the model that gives no token yet (over a long prompt, or in search of a dose), so that others can use
    the model then.
    `most_positions` bounds answers times their tokens, and so time and memory. Raises SteeringError or ModelError.
    """
    prompt = make_prompt(on.tokenizer, request, on.bos)
    plan = make_plan(on.lm, on.saes, request.interventions, on.maxima)
    ends = end_of_answer(on.lm, on.tokenizer, on.pieces, request.stop)
    doses, budget = request.doses if request.interventions else (), None
    if most_positions is not None:
        _check_size(on.lm, len(prompt.ids) + request.max_tokens, 1 + 2 * len(doses), most_positions)
    if request.kl_budget is not None:
        plain = Generation(on.lm, plan, prompt, request, ends, (), stopped)
        for _ in plain:
            yield None
        search = dose_search(on.lm, plan, prompt, plain.answers()[0].ids, request.kl_budget)
        while budget is None:
            if stopped():
                return
            try:
                yield next(search)
            except StopIteration as end:
                budget = end.value
        doses = (budget[0],)
    generation = Generation(on.lm, plan, prompt, request, ends, doses, stopped)
    texts = [_GrowingText(on, request.stop) for _ in (0, *doses)]
    for token in generation:
        if token is None:
            yield None
            continue
        yield NewToken(token.number, token.dose, token.id, texts[token.number].add(token.id), token.kl)
    unsteered, *steered = (_text(on, answer, request) for answer in generation.answers())
    yield Steered(on.pieces.strings(prompt.ids), unsteered, steered, budget)


def _check_size(lm: LanguageModel, tokens: int, rows: int, most: int) -> None:
    tokens = min(tokens, lm.context_length)
    if rows * tokens > most:
        raise SteeringError(
            f"{rows} rows (the unsteered answer, and two for each dose) of up to {tokens} tokens are {rows * tokens} positions, "
            f"and one request may take {most}: give fewer doses, a shorter text or fewer tokens"
        )


class _GrowingText:
    """The text of an answer, as far as it can be shown."""

    def __init__(self, on: Steerable, stop: Sequence[str]) -> None:
        self._pieces, self._special, self._stop = on.pieces, set(on.tokenizer.all_special_ids), stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting, self._ended = "", False

    def add(self, token: int) -> str:
        """The text that can be shown after this token and could not before."""
        if token in self._special or self._ended:
            return ""
        self._waiting += self._decoder.decode(self._pieces.piece(token))
        end = found_stop(self._waiting.encode(), self._stop)
        if end is not None:
            shown, self._ended = self._waiting.encode()[:end].decode(), True
            return shown
        kept = max(
            (n for stop in self._stop for n in range(1, len(stop)) if self._waiting.endswith(stop[:n])), default=0
        )
        shown, self._waiting = self._waiting[: len(self._waiting) - kept], self._waiting[len(self._waiting) - kept :]
        return shown


def _text(on: Steerable, answer: Answer, request: SteeringRequest) -> AnswerText:
    special = set(on.tokenizer.all_special_ids)
    whole = b"".join(on.pieces.piece(i) for i in answer.ids if i not in special)
    end = found_stop(whole, request.stop)
    return AnswerText(whole[:end].decode(errors="replace"), on.pieces.strings(answer.ids), answer)
