"""Steered answers of a real small model: token after token, side by side, and what is measured of each."""

from __future__ import annotations

import pytest
import torch

from configs.steering import Sampling
from sae.formats.sae_folder import Sae
from sae.language_model import LanguageModel
from sae.steering import decoding
from sae.steering.decoding import Decoder, Prompt, keeps_cache
from sae.steering.errors import SteeringError
from sae.steering.generation import Generation, repetition
from sae.steering.hooks import Changes, Scope, steered
from sae.steering.kl_budget import find_dose
from sae.steering.plan import make_plan
from sae.steering.sampling import Sampler
from tests.sae.steering_world import EARLY, HOOKS, IDS, LATE, PROMPT, intervention, lm, never, random_sae, saes

__all__ = ["lm", "saes"]


def test_tokens_one_by_one_are_a_whole_pass(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    assert keeps_cache(lm)
    change = intervention(value=4.0, where="both")
    plan = make_plan(lm, saes, [change, intervention("ablate", 9, LATE)], {})
    decoder = Decoder(lm, plan, PROMPT, [1.0, 0.0])
    seen = [decoder.logits()]
    for token in (17, 23, 99):
        decoder.append([token, token])
        seen.append(decoder.logits())
    ids = torch.cat([IDS, torch.tensor([[17, 23, 99]])], 1).repeat(2, 1)
    scope = Scope(torch.arange(15), torch.tensor([*PROMPT.special, False, False, False]), 12, torch.tensor([1.0, 0.0]))
    counted = Changes(2)
    with torch.inference_mode(), steered(lm, plan, scope, counted):
        whole = lm._model(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(torch.stack(seen, 1), whole[:, 11:], atol=1e-4, rtol=1e-4)
    assert decoder.changes.positions.tolist() == counted.positions.tolist() == [14 * 2, 0]


def test_generation_repeats_exactly_and_ends(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    plan = make_plan(lm, saes, [intervention(value=6.0)], {})
    sampling = Sampling(max_tokens=12, temperature=0.9, top_p=0.95, seed=5)
    runs = [Generation(lm, plan, PROMPT, sampling, never, doses=(0.0, 1.0)) for _ in range(2)]
    tokens = [list(run) for run in runs]
    assert tokens[0] == tokens[1]
    plain, same, strong = runs[0].answers()
    assert len(plain.ids) == 12
    assert same.ids == plain.ids  # dose 0 chooses with the same random numbers
    assert (same.kl, same.positions) == (0.0, 0)
    assert strong.kl > 0
    assert strong.positions == 11 + 11  # the last token is chosen and never read
    end = plain.ids[3]
    short = Generation(lm, plan, PROMPT, sampling, lambda ids: ids[-1] == end, doses=())
    list(short)
    assert short.answers()[0].ids == plain.ids[: plain.ids.index(end) + 1]
    assert short.answers()[0].ended
    ended = Generation(lm, plan, PROMPT, sampling, never, stopped=lambda: True)
    assert list(ended) == []


def test_what_an_answer_measures_does_not_depend_on_longer_ones_beside_it(
    lm: LanguageModel, saes: dict[str, Sae], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(lm, saes, [intervention(value=6.0)], {})
    whole = Generation(lm, plan, PROMPT, Sampling(max_tokens=10, temperature=0.9, seed=5), never)
    list(whole)
    plain, strong = whole.answers()
    end = next(token for token in strong.ids if token not in plain.ids)
    kept = strong.ids.index(end) + 1
    for cached in (True, False):
        monkeypatch.setattr("sae.steering.decoding.keeps_cache", lambda _, cached=cached: cached)
        beside = Generation(
            lm, plan, PROMPT, Sampling(max_tokens=10, temperature=0.9, seed=5), lambda ids: ids[-1] == end
        )
        list(beside)
        other, short = beside.answers()
        assert (len(other.ids), len(short.ids), short.ended) == (10, kept, True)
        assert short.positions == 11 + kept - 1
    alone = Generation(lm, plan, PROMPT, Sampling(max_tokens=kept, temperature=0.9, seed=5), never)
    list(alone)
    assert short.change == pytest.approx(alone.answers()[1].change, rel=1e-5)


def test_logits_of_a_prompt_are_not_computed_where_they_are_not_read(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    plan, shapes = make_plan(lm, saes, [intervention(value=1.0)], {}), []
    hook = lm._model.register_forward_hook(lambda _model, _inputs, out: shapes.append(tuple(out.logits.shape[:2])))
    try:
        Decoder(lm, plan, PROMPT, [1.0, 0.0]).logits()
        find_dose(lm, plan, PROMPT, [9, 31, 77], 0.05)
    finally:
        hook.remove()
    assert shapes[0] == (2, 1)
    assert {length for _, length in shapes[1:]} == {4}


def test_perplexity_and_kl_are_those_of_whole_passes(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    change = intervention(value=6.0)
    plan = make_plan(lm, saes, [change], {})
    run = Generation(lm, plan, PROMPT, Sampling(max_tokens=6), never)
    list(run)
    _, steered_answer = run.answers()
    ids = torch.tensor([[*PROMPT.ids, *steered_answer.ids]])
    log = lm.logits(ids)[0, 11:-1].log_softmax(-1)
    surprise = -log[torch.arange(6), torch.tensor(steered_answer.ids)].mean()
    assert steered_answer.perplexity == pytest.approx(float(surprise.exp()), rel=1e-3)
    scope = Scope(torch.arange(18), torch.tensor([True, *([False] * 17)]), 12, torch.ones(1))
    with torch.inference_mode(), steered(lm, plan, scope):
        other = lm._model(input_ids=ids, use_cache=False).logits[0, 11:-1].log_softmax(-1)
    assert steered_answer.kl == pytest.approx(float((other.exp() * (other - log)).sum(-1).mean()), rel=1e-2)


def test_a_change_that_explodes_is_said_and_not_sampled(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    plan = make_plan(lm, _exploding(lm), [intervention(value=1e6)], {})
    with pytest.raises(SteeringError, match="not finite after 12 tokens: the change is too strong"):
        list(Generation(lm, plan, PROMPT, Sampling(max_tokens=3), never))


def _exploding(lm: LanguageModel) -> dict[str, Sae]:
    """An SAE whose directions are so long that a thousand times one is not finite."""
    broken = random_sae(HOOKS[EARLY], lm.hook(HOOKS[EARLY]).d, 0)
    broken.tensors["W_dec"] = broken.W_dec * 1e37
    return {EARLY: broken}


@pytest.mark.parametrize("cached", [True, False])
def test_a_dose_that_explodes_ends_alone_and_says_why(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    monkeypatch.setattr("sae.steering.decoding.keeps_cache", lambda _: cached)
    saes, sampling = _exploding(lm), Sampling(max_tokens=5, temperature=0.9, seed=2)
    change, weak = [intervention(value=1.0, where="answer")], 1e-37
    alone = Generation(lm, make_plan(lm, saes, change, {}), PROMPT, sampling, never, doses=(weak,))
    list(alone)
    together = Generation(lm, make_plan(lm, saes, change, {}), PROMPT, sampling, never, doses=(1000.0, weak))
    tokens = [token for token in together if token is not None]
    plain, bad, good = together.answers()
    assert [len(one.ids) for one in (plain, bad, good)] == [5, 1, 5], "the first token is chosen before any change"
    assert sum(token.number == 1 for token in tokens) == 1
    assert (
        bad.problem == "the model's output is not finite after 13 tokens: the change is too strong, use a smaller value"
    )
    assert (bad.ended, bad.positions, bad.change) == (False, 0, 0.0), "the pass that failed is not counted"
    assert plain.problem is good.problem is None
    assert [one.ids for one in (plain, good)] == [one.ids for one in alone.answers()]
    nothing = Generation(
        lm, make_plan(lm, saes, [intervention(value=1e6)], {}), PROMPT, sampling, never, doses=(1.0, 0.0)
    )
    list(nothing)
    empty = nothing.answers()[1]
    assert empty == (1.0, [], False, None, 0.0, None, 0.0, 0, bad.problem.replace("13", "12"))


@pytest.mark.parametrize("budget", [None, 0.05])
def test_a_long_text_is_read_in_short_passes_and_gives_the_same(
    lm: LanguageModel, saes: dict[str, Sae], monkeypatch: pytest.MonkeyPatch, budget: float | None
) -> None:
    ids = torch.randint(5, 400, (100,), generator=torch.Generator().manual_seed(3)).tolist()
    prompt, lengths = Prompt(ids, [True, *([False] * 99)]), []
    plan = make_plan(lm, saes, [intervention(value=6.0), intervention("ablate", 9, LATE)], {})

    def answers() -> tuple[object, ...]:
        if budget is not None:
            return find_dose(lm, plan, prompt, ids[:5], budget)
        run = Generation(lm, plan, prompt, Sampling(max_tokens=6, temperature=0.9, seed=1), never)
        gave_way = list(run).count(None)
        assert gave_way == max(0, -(-100 // decoding.PASS_TOKENS) - 1)
        return tuple(
            value for one in run.answers() for value in (one.ids, one.positions, pytest.approx(one.kl, rel=1e-3))
        )

    whole = answers()
    monkeypatch.setattr(decoding, "PASS_TOKENS", 7)
    hook = lm._model.register_forward_pre_hook(
        lambda _model, _args, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        parts = answers()
    finally:
        hook.remove()
    assert max(lengths) == 7
    assert parts == (whole if budget is None else pytest.approx(whole, rel=1e-3))


@pytest.mark.parametrize("where", ["prompt", "answer", "both"])
@pytest.mark.parametrize("from_position", [0, 5, 14, 40])
@pytest.mark.parametrize("special", [True, False])
def test_an_answer_counts_the_positions_of_its_scope(
    lm: LanguageModel, saes: dict[str, Sae], where: str, from_position: int, special: bool
) -> None:
    one = intervention(value=3.0, where=where, from_position=from_position, special_tokens=special)
    run = Generation(lm, make_plan(lm, saes, [one], {}), PROMPT, Sampling(max_tokens=6), never)
    list(run)
    read = range(12 + 5)  # the answer's last token is chosen and never read
    asked = [
        p
        for p in read
        if p >= from_position and (special or p > 0) and (where == "both" or (p < 12) == (where == "prompt"))
    ]
    assert [answer.positions for answer in run.answers()] == [0, len(asked)]


def test_a_frequency_penalty_is_taken_from_the_logits_of_tokens_that_the_answer_has() -> None:
    logits = torch.tensor([[1.0, 0.9, 0.0], [1.0, 0.9, 0.0]])
    assert Sampler(Sampling()).choose(logits, [[0], []]) == [0, 0]
    assert Sampler(Sampling(frequency_penalty=0.05)).choose(logits, [[0, 0, 0], [0]]) == [1, 0]
    assert Sampler(Sampling(frequency_penalty=-1)).choose(logits, [[2, 2], []]) == [2, 0]


def test_repetition() -> None:
    assert repetition([1, 2, 3, 4]) == 0
    assert repetition([1, 2, 3, 1, 2, 3]) == pytest.approx(1 / 4)
    assert repetition([5, 5, 5, 5, 5]) == pytest.approx(2 / 3)
    assert repetition([1]) == 0
