"""Planted activations: the dictionary, the forest, the samples' distribution, and the artifact's reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.load import ConfigError, parse_config
from configs.synthesize import SynthesizeConfig
from sae.formats.artifact_files import LocalFiles
from sae.formats.planted import DICTIONARY, PlantedReader, open_activations, planted_chunk_name, write_planted_chunk
from sae.planted.dictionary import Dictionary, load_dictionary, make_dictionary, save_dictionary, spread_out
from sae.planted.forest import drawn_probabilities, firing_probabilities, first_child, parents
from sae.planted.sampling import Active, Sampler
from sae.planted.uniform import Draws, normal_share

SAMPLES = 20_000


def config(**settings: Any) -> SynthesizeConfig:
    small = {"features": 60, "d": 16, "roots": 4, "branching": 2, "depth": 2, "orthogonal_steps": 0}
    return SynthesizeConfig.model_validate({**small, **settings})


def sampled(settings: SynthesizeConfig, samples: int = SAMPLES) -> tuple[Dictionary, Active]:
    dictionary = make_dictionary(settings)
    return dictionary, Sampler(settings, dictionary).chunk(0, samples)


def fires(active: Active, features: int, samples: int = SAMPLES) -> np.ndarray:
    """bool [samples, features]"""
    dense = np.zeros((samples, features), bool)
    dense[active.sample, active.feature] = True
    return dense


def near(share: np.ndarray, expected: np.ndarray, samples: int = SAMPLES) -> bool:
    """Within 5 standard deviations of a count."""
    return bool((np.abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / samples) + 1e-9).all())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 300), st.integers(0, 9), st.integers(1, 4), st.integers(1, 4)
)  # features, roots, branching, depth
def test_a_forest_has_generations_of_the_right_size(features: int, roots: int, branching: int, depth: int) -> None:
    made = config(features=features, roots=min(roots, features), branching=branching, depth=depth)
    parent = parents(made)
    assert (parent < np.arange(features)).all()
    inside = sum(made.roots * branching**generation for generation in range(depth + 1))
    assert (parent >= 0).sum() == max(0, min(inside, features) - made.roots)
    first, count = first_child(parent)
    assert count.max(initial=0) <= branching
    for feature in np.flatnonzero(count):
        children = np.arange(first[feature], first[feature] + count[feature])
        assert (parent[children] == feature).all()


def test_firing_probabilities_follow_zipf_between_their_bounds() -> None:
    p = firing_probabilities(config(features=100, zipf_exponent=1, most_firing=0.5, least_firing=0.01))
    assert p[0] == pytest.approx(0.5)
    assert p[-1] == pytest.approx(0.01)
    law = 1 / np.arange(1, 101)
    np.testing.assert_allclose((p - p[-1]) / (p[0] - p[-1]), (law - law[-1]) / (law[0] - law[-1]))


def test_children_are_drawn_so_that_they_fire_as_they_should() -> None:
    parent = np.array([-1, 0, 0])
    np.testing.assert_allclose(drawn_probabilities(np.array([0.4, 0.1, 0.02]), parent, False), [0.4, 0.25, 0.05])
    drawn = drawn_probabilities(np.array([0.4, 0.1, 0.02]), parent, True)
    np.testing.assert_allclose(drawn, [0.4, 0.25 * 1.05, 0.05 * 1.25])


def test_features_without_parents_fire_with_their_probability_independently_or_not() -> None:
    for rank in (0, 20):
        dictionary, active = sampled(config(features=40, roots=0, correlation_rank=rank, correlation_scale=0.15))
        dense = fires(active, 40)
        assert near(dense.mean(axis=0), dictionary.probability), f"rank {rank}: correlations leave the shares alone"
        together = dense.T.astype(float) @ dense / SAMPLES
        alone = np.outer(dense.mean(axis=0), dense.mean(axis=0))
        surplus = (together - alone)[np.triu_indices(12, 1)]
        if rank == 0:
            assert np.abs(surplus).max() < 5 * np.sqrt(0.25 / SAMPLES)
        else:
            overlap = (dictionary.factor @ dictionary.factor.T)[np.triu_indices(12, 1)]
            assert np.corrcoef(surplus, overlap)[0, 1] > 0.8


def test_two_features_fire_together_as_the_copula_says() -> None:
    """With common factor z: the share of both is the mean over z of the product of their shares given z."""
    made = config(features=2, roots=0, correlation_rank=1, correlation_scale=0.6, most_firing=0.4, least_firing=0.3)
    dictionary, active = sampled(made)
    z = Draws(99).normal(200_000)
    given_z = normal_share((z[:, None] * dictionary.factor[:, 0] - dictionary.threshold) / dictionary.noise)
    both = fires(active, 2).all(axis=1).mean()
    assert near(np.array([both]), np.array([given_z.prod(axis=1).mean()]))


def test_children_fire_only_with_their_parent_and_one_at_most() -> None:
    dictionary, active = sampled(config(most_firing=0.6, least_firing=0.2))
    dense = fires(active, 60)
    child = np.flatnonzero(dictionary.parent >= 0)
    assert not (dense[:, child] & ~dense[:, dictionary.parent[child]]).any()
    siblings = np.zeros((SAMPLES, 60), int)
    np.add.at(siblings.T, dictionary.parent[child], dense[:, child].T)
    assert siblings.max() == 1
    _, active = sampled(config(most_firing=0.6, least_firing=0.2, exclusive=False))
    dense = fires(active, 60)
    assert (dense[:, child].sum(axis=1) > dense[:, :4].sum(axis=1)).any(), "without exclusion siblings fire together"
    # Of a parent that fires, each child is drawn with its own probability.
    drawn = drawn_probabilities(dictionary.probability, dictionary.parent, False)
    for one in child[:6]:
        of = dense[:, dictionary.parent[one]]
        assert near(np.array([dense[of, one].mean()]), drawn[one : one + 1], int(of.sum()))


def test_magnitudes_have_the_configs_mean_and_deviation() -> None:
    made = config(
        roots=0, magnitude_deviation=0.5, magnitude_deviation_spread=0, first_magnitude=5, last_magnitude=3,
        most_firing=0.5, least_firing=0.5,
    )  # fmt: skip
    dictionary, active = sampled(made)
    for feature in (0, 59):
        values = active.value[active.feature == feature]
        assert values.mean() == pytest.approx(dictionary.mean[feature], abs=0.03)
        assert values.std() == pytest.approx(0.5, rel=0.1)
    np.testing.assert_array_equal(active.value, active.value.astype(np.float16).astype(np.float32))


def test_a_childs_magnitude_grows_with_its_parents() -> None:
    made = config(features=2, roots=1, branching=1, depth=1, most_firing=0.9, least_firing=0.5)
    for scaled in (True, False):
        dictionary, active = sampled(made.model_copy(update={"scale_by_parent": scaled}), 4000)
        child, parent = (
            dict(zip(active.sample[active.feature == f], active.value[active.feature == f], strict=True))
            for f in (1, 0)
        )
        both = np.array([(parent[s], child[s]) for s in child])
        correlation = np.corrcoef(both.T)[0, 1]
        assert correlation > 0.2 if scaled and dictionary.deviation[0] > 0.2 else abs(correlation) < 0.1


def test_a_chunk_depends_on_its_number_and_the_seed_alone() -> None:
    made = config()
    sampler = Sampler(made, make_dictionary(made))
    first, again, other = (
        sampler.chunk(3, 500),
        Sampler(made, make_dictionary(made)).chunk(3, 500),
        sampler.chunk(4, 500),
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.feature[:50], other.feature[:50])
    seeded = config(seed=1)
    assert not np.allclose(make_dictionary(seeded).directions, make_dictionary(made).directions)
    assert (np.diff(first.sample) >= 0).all()


def test_directions_are_spread_by_the_gradient_of_their_overlaps() -> None:
    rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(rows, dim=1)
    reference = unit.clone().requires_grad_()
    gram = reference @ reference.T
    off = gram - torch.diag(gram.diagonal())
    (off.square().sum() + 50 * (gram.diagonal() - 1).square().sum()).backward()
    optimizer = torch.optim.Adam([reference], lr=0.01)
    optimizer.step()
    torch.testing.assert_close(spread_out(rows, 1), torch.nn.functional.normalize(reference.detach(), dim=1))

    def overlap(x: torch.Tensor) -> float:
        return float((x @ x.T - torch.eye(len(x))).square().sum())

    spread = spread_out(rows, 100)
    assert overlap(spread) < overlap(unit)
    assert overlap(spread) == pytest.approx(50 * 50 / 8 - 50, rel=0.01), "no 50 unit rows of 8 dimensions overlap less"
    torch.testing.assert_close(spread.norm(dim=1), torch.ones(50))


def test_the_reader_gives_the_sums_of_what_was_written(tmp_path: Path) -> None:
    made = config(row_samples=5, rows=7, rows_per_chunk=3, heldout_rows=2)
    dictionary, active = sampled(made, 35)
    save_dictionary(dictionary, tmp_path / DICTIONARY)
    loaded = load_dictionary(tmp_path / DICTIONARY)
    assert all(np.array_equal(a, b) for a, b in zip(dictionary, loaded, strict=True))
    (tmp_path / "planted").mkdir()
    for number, (lo, hi) in enumerate([(0, 15), (15, 30), (30, 35)]):
        inside = (active.sample >= lo) & (active.sample < hi)
        part = Active(active.sample[inside] - lo, active.feature[inside], active.value[inside])
        write_planted_chunk(tmp_path / planted_chunk_name("chunk", number), part, hi - lo)
    info = {"format": "planted", "rows": 7, "heldout_rows": 2, "rows_per_chunk": 3, "context_length": 5}
    (tmp_path / "activations.json").write_text(json.dumps(info))
    reader = open_activations(LocalFiles(tmp_path), "planted")
    assert isinstance(reader, PlantedReader)
    dense = np.zeros((35, 60))
    dense[active.sample, active.feature] = active.value
    expected = torch.from_numpy(dense @ dictionary.directions.astype(float) + dictionary.bias).float()
    whole, part = reader.read_ranges([range(0, 7), range(2, 5)])
    torch.testing.assert_close(whole.acts, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(part.acts, expected[10:25], atol=1e-5, rtol=1e-5)
    assert torch.equal(part.row, torch.arange(2, 5).repeat_interleave(5))
    assert torch.equal(part.position, torch.arange(5).repeat(3))
    with pytest.raises(ValueError, match="outside the 7 rows"):
        reader.read_ranges([range(5, 8)])
    with pytest.raises(ValueError, match=r"no hook blocks\.1\.hook_resid_post; theirs is planted"):
        open_activations(LocalFiles(tmp_path), "blocks.1.hook_resid_post")


SAE = {"hook": "planted", "d_sae": 8, "k": 2}
ACTIVATIONS = f"activations/{'0' * 16}"


@pytest.mark.parametrize(
    ("stage", "body", "message"),
    [
        ("synthesize", {"least_firing": 0.5}, "least_firing = 0.5 is above most_firing = 0.4"),
        ("synthesize", {"features": 20, "roots": 21}, "roots = 21 is more than features = 20"),
        ("synthesize", {"correlation_scale": 0.5}, "must be below 1"),
        ("train", {"saes": [SAE]}, "model and tokens missing: give model and tokens, or activations"),
        ("train", {"saes": [SAE], "activations": ACTIVATIONS, "cache": {}}, "cache has no effect on a run that reads"),
        (
            "train",
            {"saes": [{**SAE, "hook": "h"}], "activations": ACTIVATIONS},
            "there is no hook h in planted activations",
        ),
        ("train", {"saes": [SAE], "activations": f"tokens/{'0' * 16}"}, "expected activations/"),
        ("evaluate", {"sae": f"saes/{'0' * 16}", "seeds": 1}, "trained by the SAE's training config"),
        (
            "evaluate",
            {"sae": f"saes/{'0' * 16}", "compare_with": [f"saes/{'0' * 16}"]},
            "each one once, and not the SAE itself",
        ),
    ],
)
def test_configs_that_cannot_be_are_refused(stage: str, body: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(stage, body)
    assert message in str(error.value)
    assert len(str(error.value)) < 500
