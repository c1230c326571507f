"""Steering on a real small model: identities of each operation, which positions are changed, decoding, budgets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from configs.steering import Intervention, Sampling
from sae.calibration import Calibration
from sae.formats.sae_folder import Sae
from sae.language_model import LanguageModel
from sae.steering import decoding
from sae.steering.decoding import Decoder, Prompt, keeps_cache
from sae.steering.errors import SteeringError
from sae.steering.generation import Generation, repetition
from sae.steering.hooks import Changes, Scope, steered
from sae.steering.kl_budget import find_dose
from sae.steering.operations import OPERATIONS, Site
from sae.steering.plan import make_plan
from sae.steering.sampling import Sampler

WIDTH, K = 64, 6
EARLY, LATE = "saes/" + "a" * 16, "saes/" + "b" * 16
HOOKS = {EARLY: "blocks.0.hook_resid_post", LATE: "blocks.1.hook_mlp_out"}
ACTIVE_SOMEWHERE = 7


@pytest.fixture(scope="module")
def lm(tiny_gpt2: Path) -> LanguageModel:
    return LanguageModel.load(tiny_gpt2)


@pytest.fixture(scope="module")
def saes(lm: LanguageModel) -> dict[str, Sae]:
    return {id: _sae(hook, lm.hook(hook).d, seed) for seed, (id, hook) in enumerate(HOOKS.items())}


def _sae(hook: str, d: int, seed: int, k: int = K) -> Sae:
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(WIDTH, d, generator=generator), dim=1)
    tensors = {"W_enc": W_dec.T.contiguous(), "b_enc": torch.zeros(WIDTH), "W_dec": W_dec, "b_dec": torch.zeros(d)}
    config: dict[str, Any] = {
        "architecture": "topk", "k": k, "metadata": {"hook_name": hook, "raylens": {"architecture": "topk"}},
    }  # fmt: skip
    return Sae(tensors, config, Calibration(hook, 1.0, 9.0, 1.0, torch.zeros(d), 1, 1, 0))


def never(ids: Sequence[int]) -> bool:
    """No token ends the answer."""
    return False


IDS = torch.randint(5, 400, (1, 12), generator=torch.Generator().manual_seed(1))
PROMPT = Prompt(IDS[0].tolist(), [True, *([False] * 11)])


def _logits(
    lm: LanguageModel, saes: dict[str, Sae], dose: float, *interventions: Intervention, rows: int = 1
) -> Tensor:
    plan = make_plan(lm, saes, interventions, {(EARLY, 3): 2.0})
    scope = Scope(torch.arange(12), torch.tensor(PROMPT.special), 8, torch.full((rows,), dose))
    with torch.inference_mode(), steered(lm, plan, scope):
        found: Tensor = lm._model(input_ids=IDS.repeat(rows, 1), use_cache=False).logits
    return found


def _change(op: str = "add", latent: int = 3, sae: str = EARLY, **fields: Any) -> Intervention:
    return Intervention.model_validate({"sae": sae, "latent": latent, "op": op, **fields})


def _activations(lm: LanguageModel, sae: Sae) -> Tensor:
    hook = lm.hook(sae.metadata["hook_name"])
    return sae.encode(lm.run_to(IDS, [hook])[hook.name][0])


@pytest.mark.parametrize("fields", [{"value": 0.0}, {"value": 0.0, "unit": "max"}, {"value": 0.0, "unit": "norm"}])
def test_strength_0_changes_no_bit(lm: LanguageModel, saes: dict[str, Sae], fields: dict[str, Any]) -> None:
    assert torch.equal(_logits(lm, saes, 1.0, _change(**fields)), lm.logits(IDS))
    assert torch.equal(_logits(lm, saes, 0.0, _change(value=50.0)), lm.logits(IDS))


def test_ablating_a_silent_feature_changes_no_bit(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    acts = _activations(lm, saes[EARLY])
    silent = int((acts.sum(0) == 0).nonzero()[0, 0])
    loud = int(acts[1:].sum(0).argmax())
    assert torch.equal(_logits(lm, saes, 1.0, _change("ablate", silent)), lm.logits(IDS))
    assert not torch.equal(_logits(lm, saes, 1.0, _change("ablate", loud)), lm.logits(IDS))


def test_clamping_to_the_present_value_changes_nothing(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    acts = _activations(lm, saes[EARLY])
    latent = int(acts[5].argmax())
    clamp = _change("clamp", latent, value=float(acts[5, latent]), from_position=5)
    only_there = clamp.model_copy(update={"when": None})
    plan = make_plan(lm, saes, [only_there], {})
    scope = Scope(torch.arange(6), torch.zeros(6, dtype=torch.bool), 6, torch.ones(1))
    with torch.inference_mode(), steered(lm, plan, scope):
        found = lm._model(input_ids=IDS[:, :6], use_cache=False).logits
    torch.testing.assert_close(found, lm.logits(IDS[:, :6]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("sae", [EARLY, LATE])
def test_scale_0_is_ablation_and_scale_1_nothing(lm: LanguageModel, saes: dict[str, Sae], sae: str) -> None:
    latent = int(_activations(lm, saes[sae])[1:].sum(0).argmax())
    ablated = _logits(lm, saes, 1.0, _change("ablate", latent, sae))
    assert torch.equal(_logits(lm, saes, 1.0, _change("scale", latent, sae, value=0.0)), ablated)
    assert torch.equal(_logits(lm, saes, 1.0, _change("scale", latent, sae, value=1.0)), lm.logits(IDS))
    assert torch.equal(_logits(lm, saes, 1.0, _change("clamp", latent, sae, value=0.0)), ablated)


def test_each_operation_gives_the_value_it_says(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    sae = saes[EARLY]
    hook = lm.hook(HOOKS[EARLY])
    x = lm.run_to(IDS, [hook])[hook.name][0]
    direction, acts = sae.W_dec[3], _activations(lm, sae)[:, 3]
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
        plan = make_plan(lm, saes, [_change(op, value=1.5, unit=unit, special_tokens=True)], {(EARLY, 3): 2.0})
        scope = Scope(torch.arange(12), torch.tensor(PROMPT.special), 12, torch.ones(1))
        with torch.inference_mode(), steered(lm, plan, scope), lm._reading([(lm._tap(hook, IDS.shape), found.append)]):
            lm._model(input_ids=IDS, use_cache=False)
        torch.testing.assert_close(found[0][0], x + amount[:, None] * direction, atol=1e-5, rtol=1e-5)


def test_rows_side_by_side_are_rows_alone(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    change = _change(value=3.0)
    together = _logits(lm, saes, 1.0, change, rows=3)
    for row in together:
        torch.testing.assert_close(row[None], _logits(lm, saes, 1.0, change), atol=1e-4, rtol=1e-4)


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
    plan = make_plan(lm, saes, [_change(value=3.0, **fields)], {})
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
    acts = _activations(lm, saes[EARLY])[1:]
    latent = int(((acts > 0).sum(0) * ((acts > 0).sum(0) < 11)).argmax())
    when = {"sae": EARLY, "latent": latent, "above": 0.0}
    plan = make_plan(lm, saes, [_change(value=2.0, sae=LATE, when=when)], {})
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
        make_plan(lm, saes, [_change(**fields)], {})


def test_an_sae_that_scales_each_input_does_not_steer(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    plain = saes[EARLY]
    other = Sae(plain.tensors, {**plain.config, "normalize_activations": "layer_norm"}, plain.calibration)
    with pytest.raises(SteeringError, match="scales each activation"):
        make_plan(lm, {EARLY: other}, [_change(value=1.0)], {})


def test_tokens_one_by_one_are_a_whole_pass(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    assert keeps_cache(lm)
    change = _change(value=4.0, where="both")
    plan = make_plan(lm, saes, [change, _change("ablate", 9, LATE)], {})
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
    plan = make_plan(lm, saes, [_change(value=6.0)], {})
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
    plan = make_plan(lm, saes, [_change(value=6.0)], {})
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
    plan, shapes = make_plan(lm, saes, [_change(value=1.0)], {}), []
    hook = lm._model.register_forward_hook(lambda _model, _inputs, out: shapes.append(tuple(out.logits.shape[:2])))
    try:
        Decoder(lm, plan, PROMPT, [1.0, 0.0]).logits()
        find_dose(lm, plan, PROMPT, [9, 31, 77], 0.05)
    finally:
        hook.remove()
    assert shapes[0] == (2, 1)
    assert {length for _, length in shapes[1:]} == {4}


def test_perplexity_and_kl_are_those_of_whole_passes(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    change = _change(value=6.0)
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
    plan = make_plan(lm, _exploding(lm), [_change(value=1e6)], {})
    with pytest.raises(SteeringError, match="not finite after 12 tokens: the change is too strong"):
        list(Generation(lm, plan, PROMPT, Sampling(max_tokens=3), never))


def _exploding(lm: LanguageModel) -> dict[str, Sae]:
    """An SAE whose directions are so long that a thousand times one is not finite."""
    broken = _sae(HOOKS[EARLY], lm.hook(HOOKS[EARLY]).d, 0)
    broken.tensors["W_dec"] = broken.W_dec * 1e37
    return {EARLY: broken}


@pytest.mark.parametrize("cached", [True, False])
def test_a_dose_that_explodes_ends_alone_and_says_why(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    monkeypatch.setattr("sae.steering.decoding.keeps_cache", lambda _: cached)
    saes, sampling = _exploding(lm), Sampling(max_tokens=5, temperature=0.9, seed=2)
    change, weak = [_change(value=1.0, where="answer")], 1e-37
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
    nothing = Generation(lm, make_plan(lm, saes, [_change(value=1e6)], {}), PROMPT, sampling, never, doses=(1.0, 0.0))
    list(nothing)
    empty = nothing.answers()[1]
    assert empty == (1.0, [], False, None, 0.0, None, 0.0, 0, bad.problem.replace("13", "12"))


@pytest.mark.parametrize("budget", [None, 0.05])
def test_a_long_text_is_read_in_short_passes_and_gives_the_same(
    lm: LanguageModel, saes: dict[str, Sae], monkeypatch: pytest.MonkeyPatch, budget: float | None
) -> None:
    ids = torch.randint(5, 400, (100,), generator=torch.Generator().manual_seed(3)).tolist()
    prompt, lengths = Prompt(ids, [True, *([False] * 99)]), []
    plan = make_plan(lm, saes, [_change(value=6.0), _change("ablate", 9, LATE)], {})

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
    one = _change(value=3.0, where=where, from_position=from_position, special_tokens=special)
    run = Generation(lm, make_plan(lm, saes, [one], {}), PROMPT, Sampling(max_tokens=6), never)
    list(run)
    read = range(12 + 5)  # the answer's last token is chosen and never read
    asked = [
        p
        for p in read
        if p >= from_position and (special or p > 0) and (where == "both" or (p < 12) == (where == "prompt"))
    ]
    assert [answer.positions for answer in run.answers()] == [0, len(asked)]


@pytest.mark.parametrize(("budget", "value", "unit"), [(0.01, 1.0, "raw"), (0.3, 1.0, "raw"), (0.05, 1e6, "norm")])
def test_a_budget_of_kl_is_hit(lm: LanguageModel, saes: dict[str, Sae], budget: float, value: float, unit: str) -> None:
    plan = make_plan(lm, saes, [_change(value=value, unit=unit)], {})
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
    silent = int((_activations(lm, saes[EARLY]).sum(0) == 0).nonzero()[0, 0])
    plan = make_plan(lm, saes, [_change("ablate", silent)], {})
    with pytest.raises(SteeringError, match=r"no strength of this change costs 0\.5 nats"):
        find_dose(lm, plan, PROMPT, [9, 31], 0.5)


def test_a_budget_that_kl_jumps_over_is_refused(lm: LanguageModel, saes: dict[str, Sae]) -> None:
    """A weak change makes a feature behind it active enough for a very strong one: KL is far below the budget or far above."""
    push, hook, pushed = _change(value=-0.5), lm.hook(HOOKS[LATE]), []
    scope = Scope(torch.arange(12), torch.tensor(PROMPT.special), 12, torch.ones(1))
    with torch.inference_mode(), steered(lm, make_plan(lm, saes, [push], {}), scope):
        tap = lm._tap(hook, IDS.shape).read(pushed.append)
        lm._model(input_ids=IDS, use_cache=False)
        tap.remove()
    before, after = _activations(lm, saes[LATE])[-1], saes[LATE].encode(pushed[0][0])[-1]  # where the answer is chosen
    latent = int((after - before).argmax())
    when = {"sae": LATE, "latent": latent, "above": float(before[latent] + after[latent]) / 2}
    strong = _change(value=1e6, sae=LATE, when=when)
    with pytest.raises(SteeringError, match=r"no strength of this change costs 0\.5 nats .* and .* times it"):
        find_dose(lm, make_plan(lm, saes, [push, strong], {}), PROMPT, [9], 0.5)


def test_a_frequency_penalty_is_taken_from_the_logits_of_tokens_that_the_answer_has() -> None:
    logits = torch.tensor([[1.0, 0.9, 0.0], [1.0, 0.9, 0.0]])
    assert Sampler(Sampling()).choose(logits, [[0], []]) == [0, 0]
    assert Sampler(Sampling(frequency_penalty=0.05)).choose(logits, [[0, 0, 0], [0]]) == [1, 0]
    assert Sampler(Sampling(frequency_penalty=-1)).choose(logits, [[2, 2], []]) == [2, 0]


def test_a_projection_does_not_depend_on_the_length_of_the_direction() -> None:
    x, direction = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), torch.arange(1.0, 9.0)
    for scale in (1.0, 3.0):
        site = Site(x, torch.zeros(4), scale * direction, torch.full((4,), 1.5))
        changed = x + OPERATIONS["project"](site)[:, None] * site.direction
        along = changed @ site.direction / site.direction.square().sum()
        torch.testing.assert_close(along, torch.full((4,), 1.5))


def test_repetition() -> None:
    assert repetition([1, 2, 3, 4]) == 0
    assert repetition([1, 2, 3, 1, 2, 3]) == pytest.approx(1 / 4)
    assert repetition([5, 5, 5, 5, 5]) == pytest.approx(2 / 3)
    assert repetition([1]) == 0
