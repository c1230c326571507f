"""Search by meaning on texts with a known answer, and the map of planted clusters of directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae.features.logit_lens import nearest
from sae.features.map import feature_map, principal_components
from sae.labels.activations import by_feature
from sae.labels.label_features import Directions
from sae.labels.search_index import make_index, nearest_features
from sae.labels.search_text import SearchTexts, search_texts
from sae.labels.text import LabelText, documents_in_test
from sae.text import word_vectors as package
from sae.text.word_vectors import DIMENSIONS, NoWordVectors, word_vectors

TEXTS = SearchTexts(
    ["barrels, crude", "railways, gauge", "", "language, spoken", ""],
    [
        "exports of crude oil to other countries",
        "1,435 m gauge railway",
        "",
        "Arabic is widely spoken",
        "the army has tanks",
    ],
)


def test_a_query_finds_what_means_the_same_in_other_words() -> None:
    words = word_vectors()
    index = make_index(TEXTS, words, 0)
    assert index.vectors.shape == (5, DIMENSIONS)
    assert not index.vectors[2].any()
    searched = index.vectors.any(1)
    wanted = {"petroleum": 0, "trains": 1, "which tongues people speak": 3, "soldiers": 4}
    for query, feature in wanted.items():
        found = nearest_features(index.vectors.astype(np.float32), words.of([query])[0], searched, 5)
        assert found.features[0] == feature
        assert sorted(found.features) == [0, 1, 3, 4]
        assert found.cosines[0] > index.chance[words.tokens(query) - 1]
    again = make_index(TEXTS, words, 0)
    assert all((one == other).all() for one, other in zip(index, again, strict=True))
    assert (make_index(TEXTS, words, 1).chance != index.chance).any()


def test_the_nearest_are_those_of_a_sort_and_ties_go_by_latent() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(200, 8)).astype(np.float32).round(0)
    query, allowed = np.ones(8, np.float32), random.random(200) < 0.6
    cosines = vectors @ query
    wanted = sorted(np.flatnonzero(allowed), key=lambda f: (-cosines[f], f))
    for most in (1, 7, 500):
        assert nearest_features(vectors, query, allowed, most).features.tolist() == wanted[:most]


def test_a_feature_is_searched_by_its_labels_and_strongest_examples_of_the_explain_part() -> None:
    in_test = documents_in_test(np.arange(50), 0)
    documents = np.repeat([[in_test.argmin()], [in_test.argmax()]], 30, axis=1)
    tokens, explain, test = np.arange(60, dtype=np.int32).reshape(2, 30), 0, 30
    text = LabelText(tokens, np.ones((2, 30), np.bool_), documents, lambda one: f"w{one} ")
    feature, position = np.array([0, 0, 0, 1]), np.array([explain + 2, explain + 20, test + 3, test + 3])
    order = np.argsort(position, kind="stable")
    active = by_feature(feature[order], position[order], np.array([1, 2, 9, 9], np.float32)[order], 2)
    labels = [
        {"feature": 0, "method": "phrases", "phrases": [["a", "b"]], "context": ["c"]},
        {"feature": 0, "method": "promoted", "phrases": [["not"]], "context": []},
    ]
    directions = Directions([["x"], ["y", "z"]], [[], []], [[], []])
    found = search_texts(text, active, labels, directions, lambda ids: [f"w{one} " for one in ids])
    assert found.words == ["a b, c", "y, z"]
    first, second = ((explain + 10, explain + 23), (explain, explain + 5))
    assert found.examples[0] == " ; ".join("".join(f"w{one} " for one in range(*span)) for span in (first, second))
    assert found.examples[1] == ""


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_PACKAGE", "wordllama_that_is_not_here")
    with pytest.raises(NoWordVectors, match="not installed: install it with: pip install"):
        word_vectors.__wrapped__()


def test_the_map_keeps_planted_clusters_together_and_repeats() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(6, 24))
    owner = np.arange(120) % 6
    directions = torch.from_numpy((centres[owner] + 0.3 * random.normal(size=(120, 24))).astype(np.float32))
    directions = torch.nn.functional.normalize(directions, dim=1)
    near = nearest(directions, 10)
    arguments = directions.numpy(), near.ids.numpy(), near.values.numpy()
    placed = feature_map(*arguments, 0)
    distances = np.linalg.norm(placed[:, None] - placed[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (owner[distances.argmin(1)] == owner).mean() > 0.95
    assert feature_map(*arguments, 0).tobytes() == placed.tobytes()
    assert feature_map(*arguments, 1).tobytes() != placed.tobytes()


@pytest.mark.parametrize(("features", "dimensions"), [(1, 4), (3, 1), (5, 2), (10, 3)])
def test_few_features_or_dimensions_have_their_principal_components(features: int, dimensions: int) -> None:
    directions = np.random.default_rng(1).normal(size=(features, dimensions)).astype(np.float32)
    near = nearest(torch.from_numpy(directions), 10)
    placed = feature_map(directions, near.ids.numpy(), near.values.numpy(), 0)
    assert placed.shape == (features, 2)
    assert np.isfinite(placed).all()
    assert placed == pytest.approx(principal_components(directions))
