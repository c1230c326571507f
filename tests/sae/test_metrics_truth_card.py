"""Directions, weights, recovery of planted features, and the truth card, against closed forms."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.calibration import Calibration
from sae.formats.sae_folder import Sae
from sae.metrics.directions import matched_cosines, nearest, nearest_of_own
from sae.metrics.pieces import Pieces, by_document, piece_sums
from sae.metrics.planted import PlantedCounts, planted_counts, recovery
from sae.metrics.reconstruction import VALUES
from sae.metrics.summary import Evidence
from sae.metrics.truth_card import Measured, truth_card
from sae.metrics.weights import load_weights, measure_weights, save_weights, weight_figures
from sae.sparse import Codes


def codes(*positions: list[int]) -> Codes:
    """Codes of value 1 of the latents that each position lists."""
    count = torch.tensor([len(one) for one in positions])
    latent = torch.tensor([latent for one in positions for latent in one])
    position = torch.repeat_interleave(torch.arange(len(positions)), count)
    return Codes(latent, torch.ones(len(latent)), position, count.cumsum(0) - count)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_matching_is_the_best_of_all(seed: int, n: int, m: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, 3, generator=generator), torch.randn(m, 3, generator=generator)
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=2).abs().numpy()
    if n > m:
        cosines = cosines.T
    best = max(sum(cosines[i, j] for i, j in enumerate(one)) for one in permutations(range(max(n, m)), min(n, m)))
    found = matched_cosines(a, b)
    assert len(found) == min(n, m)
    assert found.sum() == pytest.approx(best, abs=1e-5)


def test_a_permuted_and_flipped_dictionary_is_recovered_whole() -> None:
    directions = torch.nn.functional.normalize(torch.randn(30, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    moved = -2 * directions[order]
    np.testing.assert_allclose(matched_cosines(moved, directions), 1, rtol=1e-6)
    values, index = nearest(moved, directions)
    torch.testing.assert_close(values, torch.ones(30))
    assert torch.equal(index, order)


def test_overlap_leaves_a_row_itself_out() -> None:
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert nearest_of_own(rows).tolist() == [1, 1, 0, 0]


def test_recovery_counts_hits_and_misses() -> None:
    """Latent 0 is right twice and wrong once, and misses one; latent 1 is its feature's double; latent 2 is never active."""
    found = planted_counts(
        codes([0, 1], [0], [0], []), codes([5], [5, 6], [6], [5]), torch.tensor([5, 5, 6]), d_sae=3, features=7
    )
    assert found.hits.tolist() == [2, 1, 0]
    assert found.fired.tolist() == [0, 0, 0, 0, 0, 3, 2]
    figures = recovery(np.array([3, 1, 0]), found, np.array([5, 5, 6]))
    np.testing.assert_allclose(figures.precision, [2 / 3, 1])
    np.testing.assert_allclose(figures.recall, [2 / 3, 1 / 3])
    np.testing.assert_allclose(figures.f1, [2 / 3, 1 / 2])
    assert figures.features == 1, "uniqueness is 1 of 2: a one-to-one match would make it 1"


def test_pieces_are_documents_within_rows_and_add_up_by_document() -> None:
    document = np.array([[-1, 4, 4, 7], [7, 7, 4, 9]])
    chosen = np.array([[False, True, True, True], [True, False, True, True]])
    values = np.arange(12.0).reshape(6, 2)
    found = piece_sums(values, chosen, document)
    assert found.document.tolist() == [4, 7, 7, 4, 9]
    assert found.positions.tolist() == [2, 1, 1, 1, 1]
    documents = np.unique(found.document)
    expected = [[3, 0 + 2 + 8, 1 + 3 + 9], [2, 4 + 6, 5 + 7], [1, 10, 11]]
    assert by_document(found, documents).tolist() == expected
    halves = [piece_sums(values[:3], chosen[:1], document[:1]), piece_sums(values[3:], chosen[1:], document[1:])]
    joined = Pieces(*(np.concatenate(fields) for fields in zip(*halves, strict=True)))
    assert all(np.array_equal(a, b) for a, b in zip(joined, found, strict=True)), "a batch more or less changes nothing"
    none = piece_sums(np.zeros((0, 2)), np.zeros((2, 4), bool), document)
    assert len(none.document) == 0


def sae(W_dec: torch.Tensor) -> Sae:
    d = W_dec.shape[1]
    tensors = {"W_enc": 3 * W_dec.T, "b_enc": torch.full((len(W_dec),), 0.5), "W_dec": W_dec, "b_dec": torch.zeros(d)}
    config = {"architecture": "topk", "k": 1, "metadata": {"hook_name": "planted"}}
    return Sae(tensors, config, Calibration("planted", 1.0, 3.0, 1.0, torch.zeros(d), 1, 1, 0))


def test_weights_are_measured_and_kept(tmp_path: Path) -> None:
    eye = torch.eye(4)
    turned = torch.stack([eye[0], eye[1], (eye[2] + eye[3]) / 2**0.5, -eye[3]])
    found = measure_weights(sae(eye), [sae(turned)], eye[:3])
    np.testing.assert_allclose(found.decoder_overlap, 0)
    np.testing.assert_allclose(found.stability, [1, 1, 0.5**0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(np.sort(found.matched[0]), [0.5**0.5, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(found.planted, 1)
    assert found.nearest[:3].tolist() == [0, 1, 2]
    figures = weight_figures(found)
    assert figures["encoder_decoder_cosine"] == pytest.approx(1)
    assert figures["encoder_norm"] == pytest.approx(3)
    assert figures["encoder_bias"] == 0.5
    alone = measure_weights(sae(turned))
    assert len(alone.matched) == len(alone.stability) == len(alone.planted) == 0
    save_weights([found, alone], tmp_path / "weights")
    again = load_weights(tmp_path / "weights")
    assert all(np.array_equal(a, b) for one, two in zip([found, alone], again, strict=True) for a, b in zip(one, two))


def measured(name: str, error: float, counts: list[int], W_dec: torch.Tensor, seeds: list[Sae]) -> Measured:
    """Three documents of 10 positions: variance 2 and `error` a position."""
    sums = np.zeros((3, len(VALUES)))
    values = {"active": 3, "square": 2, "error": error, "l1": 4, "made": 0.9, "dot": 1.0, "cosine": 0.8, "ratio": 0.7}
    for column, value in enumerate(values.values()):
        sums[:, column] = 10 * value
    assert tuple(values) == VALUES
    pieces = Pieces(np.array([8, 3, 5]), np.full(3, 10), sums)
    loss = np.tile([10.0, 20, 90, 50, 0, 5, 40, 25], (3, 1))  # CE and KL: clean, sae, zero, mean
    evidence = Evidence(pieces, pieces._replace(sums=loss), np.array(counts), 30, 0.0, None)
    return Measured(name, f"saes/{name}", evidence, measure_weights(sae(W_dec), seeds))


def test_the_card_shows_figures_controls_and_differences() -> None:
    eye = torch.eye(3)
    double = torch.stack([eye[0], eye[0], eye[1]])
    card = truth_card(
        [measured("sae", 0.5, [0, 3, 4], eye, [sae(eye)]), measured("frozen decoder", 1.5, [1, 1, 1], double, [])],
        ["saes/other"],
    )
    rows: dict[str, Any] = {row["figure"]: row for row in card["figures"]}
    exact = {
        "ev": 0.75,
        "l0": 3,
        "l1": 4,
        "mse": 0.5,
        "cosine": 0.8,
        "shrinkage": 0.7,
        "relative_reconstruction_bias": 0.9,
    }
    exact |= {"ce_score_zero": 70 / 80, "ce_score_mean": 30 / 40, "kl_score_zero": 35 / 40, "kl_score_mean": 20 / 25}
    exact |= {"ce_sae": 2, "kl_sae": 0.5}
    for name, value in exact.items():
        assert rows[name]["sae"] == pytest.approx({"value": value, "low": value, "high": value}), name
        assert rows[name]["over"] == "documents"
    (control,) = rows["ev"]["controls"]
    assert (control["control"], control["value"], control["difference"]["value"]) == ("frozen decoder", 0.25, 0.5)
    assert rows["dead_share"]["sae"]["value"] == pytest.approx(1 / 3)
    assert rows["dense_share"]["sae"]["value"] == pytest.approx(1 / 3), (
        "4 of 30 positions are more than a tenth, 3 are not"
    )
    assert rows["duplicate_share"]["controls"][0]["value"] == pytest.approx(2 / 3)
    assert rows["duplicate_share"]["controls"][0]["difference"]["value"] == pytest.approx(-2 / 3)
    assert rows["pw_mcc"]["sae"]["value"] == pytest.approx(1)
    assert rows["pw_mcc"]["controls"][0]["control"] == "random directions"
    assert rows["pw_mcc"]["controls"][0]["value"] < 1
    assert (card["units"], card["controls"], card["seeds"]) == (
        3,
        [{"control": "frozen decoder", "sae": "saes/frozen decoder"}],
        ["saes/other"],
    )


def test_planted_figures_are_on_the_card() -> None:
    eye = torch.eye(3)
    one = measured("sae", 0.5, [3, 1, 0], eye, [])
    counts = PlantedCounts(np.array([2, 1, 0]), np.array([3, 1, 2]))
    one = one._replace(evidence=one.evidence._replace(planted=counts, loss_pieces=None))
    one = one._replace(weights=measure_weights(sae(eye), [], eye))
    rows = {row["figure"]: row["sae"]["value"] for row in truth_card([one], [], "rows")["figures"]}
    assert rows["mcc"] == pytest.approx(1)
    assert rows["precision"] == pytest.approx((2 / 3 + 1) / 2)
    assert rows["recall"] == pytest.approx((2 / 3 + 1) / 2)
    assert rows["uniqueness"] == 1
    assert "ce_sae" not in rows and "pw_mcc" not in rows
