"""The graph of features that are active together, against pairs that are counted one by one."""

from __future__ import annotations

from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.features.coactivation import LEAST_JOINT, count_coactivation, npmi
from sae.features.coactivation_graph import coactivation_graph, cut_features, strengths
from sae.formats.artifact_files import LocalFiles
from sae.formats.coactivation import read_graph, write_coactivation


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 9))
def test_the_graph_has_every_pair_that_is_not_cut(seed: int, features: int, most: int) -> None:
    active = np.random.default_rng(seed).random((features, 60)) < 0.4
    _, position = np.nonzero(active)
    starts = np.concatenate([[0], np.cumsum(active.sum(1))])
    found = count_coactivation(starts, position, np.ones(60, np.bool_), most)
    graph = coactivation_graph(60, *found[1:], most)
    edges = {(int(a), int(b)): i for i, (a, b) in enumerate(zip(graph.a, graph.b, strict=True))}
    assert len(edges) == len(graph.a) and all(a < b for a, b in edges)
    values = {measure: strengths(graph, measure) for measure in ("npmi", "pmi", "jaccard", "cosine")}
    for a in range(features):
        for b in range(a + 1, features):
            joint, n_a, n_b = int((active[a] & active[b]).sum()), int(active[a].sum()), int(active[b].sum())
            if joint < LEAST_JOINT:
                assert (a, b) not in edges
                continue
            exact = float(npmi(np.array([joint]), np.array([n_a]), np.array([n_b]), 60)[0])
            if (a, b) not in edges:
                assert exact <= min(graph.lowest[a], graph.lowest[b]) + 1e-6
                assert cut_features(graph, "npmi", exact - 1e-6) >= 2
                continue
            i = edges[a, b]
            assert graph.joint[i] == joint
            wanted = {"npmi": exact, "pmi": log(joint * 60 / n_a / n_b), "jaccard": joint / (n_a + n_b - joint)}
            wanted["cosine"] = joint / sqrt(n_a * n_b)
            assert {measure: float(of[i]) for measure, of in values.items()} == pytest.approx(wanted, abs=1e-6)
    if most >= features:
        assert cut_features(graph, "npmi", -1) == 0


def test_a_graph_is_read_as_it_was_written(tmp_path: Path) -> None:
    active = np.random.default_rng(3).random((12, 80)) < 0.3
    _, position = np.nonzero(active)
    starts = np.concatenate([[0], np.cumsum(active.sum(1))])
    found = count_coactivation(starts, position, np.ones(80, np.bool_), 4)
    write_coactivation(tmp_path, found)
    graph, read = coactivation_graph(80, *found[1:], 4), read_graph(LocalFiles(tmp_path), 80, 4)
    assert read.positions == graph.positions
    for one, other in zip(graph[1:], read[1:], strict=True):
        np.testing.assert_array_equal(one, other)
