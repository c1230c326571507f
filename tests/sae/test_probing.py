"""Probing on planted latents: closed forms of probes, sparse probing, TPP and SCR, beside their controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.probing.figures import DIMENSIONS, PERMUTED, RANDOM, headline
from sae.probing.latents import largest, random_like
from sae.probing.logistic import fit, loss
from sae.probing.scores import accuracy, change_figure, combination, mean, quotient, share_estimate, share_figure
from sae.probing.sets import class_sets, spurious_sets
from tests.sae.probing_world import control, figures_of, labelled, means_of, sae_of, spurious_world

# -- probes ------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(n=st.integers(4, 40), d=st.integers(0, 60), seed=st.integers(0, 99), l2=st.floats(0.01, 10))
def test_a_probe_is_at_the_optimum(n: int, d: int, seed: int, l2: float) -> None:
    """The gradient of its loss is 0 there, by autograd; with more dimensions than documents too."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(n, d)) * 3 + 1, np.arange(n) % 2 == 0
    probe = fit(x, y, l2)
    spread = x.std(axis=0)
    z = torch.from_numpy((x - x.mean(axis=0)) / spread)
    weights = torch.from_numpy(probe.weights * spread).requires_grad_()
    bias = torch.tensor(probe.bias + float(probe.weights @ x.mean(axis=0)), dtype=torch.float64, requires_grad=True)
    loss(z, torch.from_numpy(y).double(), weights, bias, l2).backward()
    for gradient in (weights.grad, bias.grad):
        assert gradient is not None
        assert (gradient.abs() < 1e-6).all()


def test_a_probe_on_one_dimension_has_the_known_weight() -> None:
    """x of -1 and 1, each with a quarter of the other class: without a penalty the logit is log 3 at 1; with one, less."""
    x = np.repeat([[-1.0], [1.0]], 400, axis=0)
    y = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0])
    probe = fit(x, y, 1e-9)
    assert probe.weights[0] == pytest.approx(np.log(3), rel=1e-6)
    assert probe.bias == pytest.approx(0, abs=1e-9)
    assert 0 < fit(x, y, 100.0).weights[0] < np.log(3) - 0.1


def test_a_dimension_that_does_not_vary_has_no_weight() -> None:
    x = np.stack([np.arange(20.0), np.full(20, 7.0)], axis=1)
    probe = fit(x, np.arange(20) >= 10, 1.0)
    assert probe.weights[1] == 0
    assert ((probe.logits(x) > 0) == (np.arange(20) >= 10)).all()
    with pytest.raises(ValueError, match="both classes"):
        fit(x, np.ones(20, bool), 1.0)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_an_accuracy_has_wilsons_interval_and_averaged_draws_no_narrower_one() -> None:
    right = (np.arange(50) < 40).astype(float)
    estimate = share_estimate(accuracy(right, np.arange(50), 80))
    assert estimate.interval is not None
    low, high = estimate.interval
    assert estimate.value == 0.8
    assert (low, high) == pytest.approx((0.6696, 0.8876), abs=2e-3)  # Wilson's of 40 in 50
    sure = share_estimate(accuracy(np.ones(50), np.arange(50), 80))
    assert sure.interval == pytest.approx((0.9287, 1.0), abs=1e-4)
    halves = share_estimate(accuracy(np.full(50, 0.8), np.arange(50), 80))
    assert halves.interval == pytest.approx((low, high), abs=2e-3)


def test_differences_are_paired_by_document() -> None:
    right = (np.arange(60) % 4 != 0).astype(float)
    other = right.copy()
    other[:3] = 0
    one, two = accuracy(right, np.arange(60), 60), accuracy(other, np.arange(60), 60)
    paired = share_figure(one, {"other": two})["controls"][0]["difference"]
    apart = share_figure(one, {"other": accuracy(np.roll(other, 1), np.arange(60), 60)})["controls"][0]["difference"]
    assert paired["value"] == pytest.approx(2 / 60)
    assert paired["high"] - paired["low"] < apart["high"] - apart["low"]
    same = share_figure(one, {"same": one})["controls"][0]["difference"]
    assert same["value"] == 0 and 0 < same["high"] == -same["low"] < 0.04


def test_intervals_of_means_over_classes_cover_the_truth() -> None:
    """Three classes are tested on documents that they share in part; a document is hard for all of them or for none."""
    random, inside = np.random.default_rng(4), 0
    for _ in range(400):
        right = (random.random(120) < 0.9).astype(float)
        sets = [random.permutation(120)[:60] for _ in range(3)]
        interval = share_estimate(mean([accuracy(right[one], one, 120) for one in sets])).interval
        assert interval is not None
        inside += interval[0] <= 0.9 <= interval[1]
    assert 0.92 <= inside / 400 <= 0.99


def test_combinations_and_quotients_move_with_documents() -> None:
    """Their influence is the derivative: of the figure in the weight of a document, by the difference of two weighings."""
    random = np.random.default_rng(0)
    a, b, c = (random.integers(0, 2, 40).astype(float) for _ in range(3))
    scores = [accuracy(one, np.arange(40), 40) for one in (a, b, c)]
    found = quotient(combination([1, -1], scores[:2]), mean(scores[1:]))

    def figure(weights: np.ndarray[Any, Any]) -> float:
        x, y, z = (float(weights @ one / weights.sum()) for one in (a, b, c))
        return (x - y) / ((y + z) / 2)

    even = np.ones(40)
    assert found.value == pytest.approx(figure(even))
    step = 1e-6
    for document in range(5):
        moved = even.copy()
        moved[document] += step
        assert found.influence[document] == pytest.approx((figure(moved) - figure(even)) / step, abs=1e-5)


def test_no_change_in_any_document_is_no_proof_of_none() -> None:
    nothing = accuracy(np.zeros(30), np.arange(30), 30)
    shown = change_figure(nothing, {"none": nothing})
    assert shown["sae"]["low"] < 0 < shown["sae"]["high"]
    assert shown["controls"][0]["difference"]["high"] == pytest.approx(3.8415 / 30, abs=1e-3)


# -- choices -----------------------------------------------------------------------------------------------------------


def test_the_largest_are_chosen_in_order_and_none_without_any() -> None:
    assert largest(np.array([0.0, 3, 1, 3, -5]), 3).tolist() == [1, 3, 2]
    assert largest(np.zeros(4), 3).tolist() == []


def test_random_latents_are_others_that_are_active_as_often() -> None:
    active = np.concatenate([np.zeros(10), np.arange(1, 501)]).astype(np.int64)
    chosen = np.array([100, 300, 509])
    for seed in range(20):
        found = random_like(chosen, active, np.random.default_rng(seed))
        assert len(set(found.tolist()) | set(chosen.tolist())) == 6
        assert (np.abs(active[found] - active[chosen]) <= 21).all()
    few = random_like(np.array([0, 1, 2]), np.array([5, 4, 3, 2, 0]), np.random.default_rng(0))
    assert few.tolist() == [3], "no more are active at all"


def test_sets_are_balanced_and_no_document_is_on_both_sides() -> None:
    random = np.random.default_rng(1)
    documents = labelled(random.integers(-1, 3, 300), random.integers(-1, 4, 300), classes=3)
    usable = random.random(300) < 0.9
    for one in [*class_sets(documents, usable, 0), *spurious_sets(documents, usable, 0)]:
        assert one.train_y.sum() * 2 == len(one.train) and one.test_y.sum() * 2 == len(one.test)
        assert len(set(one.train.tolist())) == len(one.train)
        assert not documents.test[one.train].any() and documents.test[one.test].all()
        assert usable[one.train].all() and usable[one.test].all()
    for number, one in enumerate(class_sets(documents, usable, 0)):
        assert ((documents.label[one.train] == number) == one.train_y).all()
    sets = spurious_sets(documents, usable, 0)
    assert set(documents.cell[sets.biased.train].tolist()) == {0, 3}
    assert np.bincount(documents.cell[sets.balanced.train]).tolist() == [len(sets.balanced.train) // 4] * 4
    assert len(sets.biased.train) <= len(sets.balanced.train)
    assert ((documents.cell[sets.spurious.test] % 2 == 0) == sets.spurious.test_y).all()
    other = class_sets(documents, usable, 1)
    assert any(not np.array_equal(a.train, b.train) for a, b in zip(class_sets(documents, usable, 0), other))


# -- figures -----------------------------------------------------------------------------------------------------------

CLASSES, EACH, WIDTH = 3, 80, 40


def planted(tmp_path: Path, classes: int = CLASSES, **fields: Any) -> dict[str, Any]:
    """A latent for each class, whose code is 1 in its documents and 0 elsewhere; the others are noise that writes elsewhere."""
    random = np.random.default_rng(3)
    label = np.repeat(np.arange(classes), EACH)[random.permutation(classes * EACH)]
    codes = np.abs(random.normal(size=(len(label), WIDTH))) * (random.random((len(label), WIDTH)) < 0.5)
    codes[:, :classes] = label[:, None] == np.arange(classes)
    directions = np.zeros((WIDTH, classes + WIDTH))
    directions[np.arange(WIDTH), np.arange(WIDTH) + (np.arange(WIDTH) >= classes) * classes] = 1.0
    acts = codes @ directions
    means = means_of(tmp_path / "means", codes, acts)
    return figures_of(means, labelled(label, classes=classes), sae_of(directions), **fields)


def test_a_latent_that_separates_a_class_gives_accuracy_1_at_k_1(tmp_path: Path) -> None:
    found = planted(tmp_path, k=[1, 2], ablated=[1], draws=3)
    row = found["sparse_probing"][0]
    assert (row["k"], row["sae"]["value"]) == (1, 1)
    assert [one["sparse_probing"][0]["latents"] for one in found["classes"]] == [[0], [1], [2]]
    assert 0.3 < control(row, RANDOM)["value"] < 0.7
    assert 0.3 < control(row, PERMUTED)["value"] < 0.75
    assert control(row, DIMENSIONS)["value"] == 1, "each dimension of the hook is a latent here"
    assert row["sae"]["low"] < 1 and control(row, RANDOM)["difference"]["low"] > 0
    assert found["whole_hook"]["value"] > 0.95
    assert headline(found)["accuracy"] == 1 and headline(found)["k"] == 2


def test_permuted_labels_give_chance(tmp_path: Path) -> None:
    """Where the codes are noise, so do the true labels."""
    random = np.random.default_rng(5)
    codes = np.abs(random.normal(size=(900, 30)))
    means = means_of(tmp_path / "means", codes, codes @ random.normal(size=(30, 8)))
    found = figures_of(
        means, labelled(random.integers(0, 2, 900)), sae_of(random.normal(size=(30, 8))), k=[5], draws=10
    )
    row = found["sparse_probing"][0]
    for shown in (row["sae"], control(row, PERMUTED), control(row, RANDOM)):
        assert shown["low"] < 0.5 < shown["high"]
        assert shown["value"] == pytest.approx(0.5, abs=0.08)


def test_tpp_of_a_latent_a_class_on_an_axis_of_its_own_is_a_half(tmp_path: Path) -> None:
    """Without its latent a class looks like documents of neither class, which its own probe denies and the other's did before."""
    label = np.arange(270) // 3 % 3 - 1
    random = np.random.default_rng(0)
    codes = (random.random((270, 30)) < 0.4) * 1.0
    codes[:, 0], codes[:, 1] = label == 0, label == 1
    directions = np.concatenate([np.eye(2, 3), np.eye(3)[2:].repeat(28, axis=0) * 1e-3])
    means = means_of(tmp_path / "means", codes, codes @ directions)
    body = figures_of(means, labelled(label), sae_of(directions), k=[1], ablated=[1, 2], draws=2)
    found = body["perturbation"]
    assert {name: latents[0] for name, latents in found["latents"].items()} == {"class 0": 0, "class 1": 1}
    row = found["rows"][0]
    values = {name: row[name]["sae"]["value"] for name in ("tpp", "intended", "unintended")}
    assert values == {"tpp": 0.5, "intended": 0.5, "unintended": 0.0}
    for name, value in values.items():
        assert row[name]["sae"]["low"] < value < row[name]["sae"]["high"]
    random_latents = control(row["tpp"], RANDOM)
    assert random_latents["value"] == pytest.approx(0, abs=0.05)
    assert random_latents["difference"]["value"] == pytest.approx(0.5 - random_latents["value"])
    assert random_latents["difference"]["low"] > 0
    assert headline(body)["tpp"] == found["rows"][1]["tpp"]["sae"]["value"]


def test_removing_the_spurious_latents_has_an_scr_of_1(tmp_path: Path) -> None:
    found = spurious_world(tmp_path)["spurious"]
    assert found["biased"]["value"] < 0.8
    assert found["oracle"]["value"] == 1 and found["spurious_value"]["value"] == 1
    assert sorted(found["latents"][:2]) == [1, 3]
    row = found["rows"][0]
    assert (row["accuracy"]["sae"]["value"], row["scr"]["sae"]["value"]) == (1, 1)
    others = control(row["scr"], RANDOM)
    assert others["value"] == pytest.approx(
        (control(row["accuracy"], RANDOM)["value"] - found["biased"]["value"]) / (1 - found["biased"]["value"])
    )
    assert others["value"] < 0.3 and others["difference"]["low"] > 0
    assert [one["documents"] for one in found["documents"]] == [150] * 4


def test_scr_is_not_defined_where_the_bias_costs_nothing(tmp_path: Path) -> None:
    found = spurious_world(tmp_path, size=0.0)["spurious"]
    assert "not defined" in found["reason"]
    assert "scr" not in found["rows"][0]
    assert found["rows"][0]["accuracy"]["sae"]["value"] > 0.9


def test_the_files_that_rows_are_in_change_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    codes = np.abs(random.normal(size=(240, 20))) * (random.random((240, 20)) < 0.4)
    label, sae = random.integers(0, 2, 240), sae_of(random.normal(size=(20, 8)))
    acts = random.normal(size=(240, 8))
    first, second = (
        figures_of(means_of(tmp_path / f"{size}", codes, acts, size), labelled(label), sae, k=[2], ablated=[3], draws=2)
        for size in (1000, 7)
    )
    assert first["excluded"] == {"pad": 1} and second["excluded"] == {"pad": 35}
    del first["excluded"], second["excluded"]
    assert first == second


def test_an_sae_that_scales_each_input_is_probed_but_not_ablated(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    codes = np.abs(random.normal(size=(90, 20)))
    means = means_of(tmp_path / "means", codes, random.normal(size=(90, 8)))
    sae = sae_of(random.normal(size=(20, 8)), normalize_activations="layer_norm")
    found = figures_of(means, labelled(random.integers(0, 2, 90)), sae, k=[2], ablated=[3], draws=2)
    assert "scales each activation" in found["perturbation"]["reason"]
    assert found["sparse_probing"] and "tpp" not in headline(found)


def test_one_class_has_no_tpp(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    codes = np.abs(random.normal(size=(90, 20)))
    means = means_of(tmp_path / "means", codes, random.normal(size=(90, 8)))
    label = random.integers(-1, 1, 90)
    found = figures_of(
        means, labelled(label, classes=1), sae_of(random.normal(size=(20, 8))), k=[2], ablated=[3], draws=2
    )
    assert "one class alone" in found["perturbation"]["reason"]
