"""What features do, against whole passes and scipy; a planted writer has an effect that its control has not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from sae.labels.activations import Activations, by_feature
from sae.labels.effect_columns import discovered, effect_columns, input_scores
from sae.labels.effects import Decoder, Effects, controls, draw_effect_examples, effects, output_scores
from sae.labels.feature_type import Reached, feature_type
from sae.language_model import LanguageModel

ROWS, LENGTH, FEATURES = 6, 16, 8


@pytest.fixture(scope="module")
def lm(tiny_gpt2: Path) -> LanguageModel:
    return LanguageModel.load(tiny_gpt2)


def _active(seed: int) -> Activations:
    random = np.random.default_rng(seed)
    active = random.random((ROWS * LENGTH, FEATURES)) < 0.2
    active[:, FEATURES - 1] = False  # dead
    position, feature = np.nonzero(active)
    return by_feature(feature, position, random.uniform(0.5, 3, len(position)).astype(np.float32), FEATURES)


def test_effects_are_those_of_whole_passes(lm: LanguageModel) -> None:
    torch.manual_seed(0)
    active = _active(1)
    ids = torch.randint(0, lm.vocab_size, (ROWS, LENGTH))
    decoder = Decoder(
        torch.randn(FEATURES, lm.d_model),
        torch.randint(0, lm.vocab_size, (FEATURES, 3)),
        torch.from_numpy(controls(active, 0)),
    )
    examples = draw_effect_examples(active, 3, 0.25, 0)
    hook = lm.hook("blocks.0.hook_resid_post")
    parts = [p for _, p in effects(lm, hook, lambda a, b: (ids[a:b], None), examples, decoder, LENGTH, 4)]
    found = Effects(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    assert len(found.feature) == len(examples.feature) == 3 * (FEATURES - 1)
    for i in range(0, len(examples.feature), 5):
        feature, (row, at) = examples.feature[i], divmod(int(examples.position[i]), LENGTH)
        own = decoder.directions[feature] * float(examples.value[i])
        other = decoder.directions[decoder.control[feature]]
        other = other / other.norm() * own.norm()
        place = (torch.arange(LENGTH) == at)[None, :, None]
        default, ablated, _, amplified, along = (
            lm.logits(ids[row : row + 1], replace=(hook, lambda x, c=change, at=place: torch.where(at, x + c, x)))[
                0, at
            ]
            .log_softmax(-1)
            .double()
            for change in (0 * own, -own, -other, own, other)
        )
        kl = (default.exp() * (default - ablated)).sum()
        mass = [p[decoder.promoted[feature]].logsumexp(0) for p in (default, amplified, along)]
        assert found.ablation[i] == pytest.approx(float(kl), rel=1e-3, abs=1e-5)
        assert found.promotion[i] == pytest.approx(float(mass[1] - mass[0]), rel=1e-3, abs=1e-5)
        assert found.promotion_control[i] == pytest.approx(float(mass[2] - mass[0]), rel=1e-3, abs=1e-5)


def test_a_planted_writer_promotes_and_its_control_does_not(lm: LanguageModel) -> None:
    active = _active(2)
    hook = lm.hook(f"blocks.{lm.n_layers - 1}.hook_resid_post")
    unembedding = lm._model.get_output_embeddings().weight.float()
    # Each direction is the output vector of one token, so that the model says this token if the direction is added.
    tokens = torch.arange(FEATURES) * 3 + 1
    directions = unembedding[tokens] / unembedding[tokens].norm(dim=-1, keepdim=True) * 5
    decoder = Decoder(directions, tokens[:, None], torch.from_numpy(controls(active, 0)))
    ids = torch.randint(0, lm.vocab_size, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    examples = draw_effect_examples(active, 8, 0.0, 0)
    parts = [p for _, p in effects(lm, hook, lambda a, b: (ids[a:b], None), examples, decoder, LENGTH, 2)]
    columns = effect_columns(parts, FEATURES)
    assert (columns["promotion_low"][:-1] > 0).all()
    assert np.isnan(columns["promotion"][-1]), "a feature that is never active has no effect"
    own, control = output_scores(lm, hook, [1, 2, 3], torch.full((FEATURES,), 30.0), decoder)
    assert (own > control).all()


def test_columns_are_means_with_students_interval() -> None:
    feature = np.array([0, 2, 0, 0, 1])
    own, control = np.array([1.0, 5.0, 2.0, 4.0, 7.0]), np.array([0.5, 1.0, 0.0, 1.0, 3.0])
    columns = effect_columns([Effects(feature, own, control, own, control)], 4)
    difference = (own - control)[feature == 0]
    low, high = stats.t.interval(0.95, 2, difference.mean(), stats.sem(difference))
    assert columns["ablation"][0] == own[feature == 0].mean()
    assert columns["ablation_low"][0] == pytest.approx(low) and columns["ablation_high"][0] == pytest.approx(high)
    assert columns["ablation_difference"][1] == 4 and np.isnan(columns["ablation_low"][1])
    assert np.isnan(columns["ablation"][3])
    assert columns["ablation_p"][0] == pytest.approx(stats.ttest_1samp(difference, 0, alternative="greater").pvalue)
    assert all(np.isnan(of).all() for of in effect_columns([], 2).values())


def test_of_many_features_only_those_are_discovered_that_chance_does_not_make() -> None:
    random = np.random.default_rng(0)
    features, examples, real = 2000, 8, 100
    differences = random.normal(0, 1, (features, examples))
    differences[:real] += 4
    feature, zero = np.repeat(np.arange(features), examples), np.zeros(features * examples)
    columns = effect_columns([Effects(feature, zero, zero, differences.reshape(-1), zero)], features + 1)
    found = discovered(columns, "promotion")
    assert found is not None and found[:real].all() and not found[features]
    assert found[real:].sum() <= 0.1 * real  # beside the 2.5% of all features whose interval is above 0
    assert (columns["promotion_low"][real:features] > 0).sum() > 30
    nothing = discovered(columns, "ablation")
    assert nothing is not None and not nothing.any()
    assert discovered({}, "promotion") is None


@pytest.mark.parametrize(
    ("score", "promotes", "expected"),
    [(0.9, False, "tokens"), (0.9, True, "both"), (0.6, True, "writer"), (0.6, False, "obscure")],
)
def test_what_promotes_its_tokens_writes(score: float, promotes: bool, expected: str) -> None:
    assert feature_type({"tokens": Reached(score, True)}, 0.01, False, promotes) == expected


def test_input_scores_count_promoted_tokens_at_the_strongest_positions() -> None:
    active = by_feature(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), np.array([1, 2, 1, 1], np.float32), 3)
    tokens, promoted = np.array([4, 5, 6]), np.array([[5, 9], [6, 5], [0, 0]])
    own, control = input_scores(active, tokens, promoted, np.array([1, 0, 0]))
    assert own.tolist()[:2] == [0.5, 1.0] and control.tolist()[:2] == [0.5, 0.5]
    assert np.isnan(own[2])


def test_controls_are_other_active_features() -> None:
    active = _active(3)
    found = controls(active, 1)
    assert (found != np.arange(FEATURES)).all() and FEATURES - 1 not in found
